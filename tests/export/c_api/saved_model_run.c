/* Runs one signature of a SavedModel through TensorFlow's C API.

   saved_model_run DIRECTORY OUT IN_TENSOR TYPE SHAPE FILE OUT_TENSOR...

     DIRECTORY   the version folder
     OUT         a folder that exists; for the n-th output it gets n.raw, the bytes of
                 the tensor, and one line in shapes.txt: TYPE SHAPE
     IN_TENSOR   such as serving_default_images:0, from the SignatureDef
     TYPE        float32, int32, int64, uint8 or string
     SHAPE       such as 2x64x96x3; for string 1, and FILE is the one string
     FILE        the bytes of the input
     OUT_TENSOR  such as StatefulPartitionedCall:3

   Libraries of further operations, such as those of tensorflow-text, are named in the
   variable OP_LIBRARIES, with a colon between them.

   Strings in outputs are written one after the other, each after its length (uint64).
   Exit codes: 0, 1 for TensorFlow's errors, 2 for wrong usage. */

#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

#define MOST_DIMS 8
#define MOST_OUTPUTS 64

static const struct {
  const char *name;
  TF_DataType type;
} kTypes[] = {{"float32", TF_FLOAT}, {"int32", TF_INT32},   {"int64", TF_INT64},
              {"uint8", TF_UINT8},   {"string", TF_STRING}, {NULL, TF_FLOAT}};

static void die(int code, const char *what, const char *which) {
  fprintf(stderr, "saved_model_run: %s: %s\n", what, which);
  exit(code);
}

static void check(TF_Status *status, const char *what) {
  if (TF_GetCode(status) != TF_OK) die(1, what, TF_Message(status));
}

static void load_libraries(TF_Status *status) {
  const char *names = getenv("OP_LIBRARIES");
  char *copy = strdup(names ? names : "");
  for (char *name = strtok(copy, ":"); name; name = strtok(NULL, ":")) {
    TF_LoadLibrary(name, status);
    check(status, name);
  }
  free(copy);
}

static TF_DataType type_of(const char *name) {
  for (int i = 0; kTypes[i].name; ++i)
    if (!strcmp(kTypes[i].name, name)) return kTypes[i].type;
  die(2, "expected a type among float32, int32, int64, uint8, string; received", name);
  return TF_FLOAT;
}

static const char *name_of(TF_DataType type) {
  for (int i = 0; kTypes[i].name; ++i)
    if (kTypes[i].type == type) return kTypes[i].name;
  die(2, "an output has a type that is not handled here", "see TF_DataType");
  return NULL;
}

static int parse_shape(const char *text, int64_t *dims) {
  int rank = 0;
  while (*text) {
    char *end;
    if (rank == MOST_DIMS) die(2, "too many dimensions", text);
    dims[rank++] = strtoll(text, &end, 10);
    if (end == text || (*end && *end != 'x')) die(2, "no shape like 2x3", text);
    text = *end ? end + 1 : end;
  }
  return rank;
}

static char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) die(2, "can not open", path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(*size ? *size : 1);
  if (!bytes || fread(bytes, 1, *size, file) != *size) die(2, "can not read", path);
  fclose(file);
  return bytes;
}

static FILE *open_in(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "wb");
  if (!file) die(2, "can not write", path);
  return file;
}

static TF_Tensor *make_input(TF_DataType type, const char *shape, const char *path) {
  int64_t dims[MOST_DIMS];
  int rank = parse_shape(shape, dims);
  size_t size;
  char *bytes = read_file(path, &size);
  TF_Tensor *tensor;
  if (type == TF_STRING) {
    if (rank != 1 || dims[0] != 1) die(2, "a string input has the shape 1", shape);
    tensor = TF_AllocateTensor(type, dims, rank, sizeof(TF_TString));
    TF_TString *string = TF_TensorData(tensor);
    TF_TString_Init(string);
    TF_TString_Copy(string, bytes, size);
  } else {
    size_t expected = TF_DataTypeSize(type);
    for (int i = 0; i < rank; ++i) expected *= (size_t)dims[i];
    if (size != expected) die(2, "the file's size does not fit the shape", shape);
    tensor = TF_AllocateTensor(type, dims, rank, size);
    memcpy(TF_TensorData(tensor), bytes, size);
  }
  free(bytes);
  return tensor;
}

/* "name:1" is output 1 of the operation "name". */
static TF_Output find(TF_Graph *graph, const char *tensor) {
  char name[1024];
  const char *colon = strrchr(tensor, ':');
  if (!colon || (size_t)(colon - tensor) >= sizeof name)
    die(2, "expected a tensor like name:0; received", tensor);
  memcpy(name, tensor, (size_t)(colon - tensor));
  name[colon - tensor] = '\0';
  TF_Output output = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  if (!output.oper) die(2, "no such tensor in the graph", tensor);
  return output;
}

static void write_output(const char *folder, int index, TF_Tensor *tensor, FILE *shapes) {
  TF_DataType type = TF_TensorType(tensor);
  int64_t count = 1;
  fprintf(shapes, "%s ", name_of(type));
  for (int i = 0; i < TF_NumDims(tensor); ++i) {
    fprintf(shapes, i ? "x%" PRId64 : "%" PRId64, TF_Dim(tensor, i));
    count *= TF_Dim(tensor, i);
  }
  fprintf(shapes, "\n");
  char name[32];
  snprintf(name, sizeof name, "%d.raw", index);
  FILE *file = open_in(folder, name);
  if (type == TF_STRING) {
    const TF_TString *strings = TF_TensorData(tensor);
    for (int64_t i = 0; i < count; ++i) {
      uint64_t size = TF_TString_GetSize(&strings[i]);
      fwrite(&size, sizeof size, 1, file);
      fwrite(TF_TString_GetDataPointer(&strings[i]), 1, size, file);
    }
  } else {
    fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), file);
  }
  if (fclose(file)) die(2, "can not write", name);
}

int main(int argc, char **argv) {
  if (argc < 8 || argc - 7 > MOST_OUTPUTS)
    die(2, "usage", "DIRECTORY OUT IN_TENSOR TYPE SHAPE FILE OUT_TENSOR...");
  const char *tags[] = {"serve"};
  int num_outputs = argc - 7;
  TF_Status *status = TF_NewStatus();
  load_libraries(status);
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  check(status, "load");

  TF_Output input = find(graph, argv[3]);
  TF_Tensor *value = make_input(type_of(argv[4]), argv[5], argv[6]);
  TF_Output outputs[MOST_OUTPUTS];
  TF_Tensor *values[MOST_OUTPUTS] = {NULL};
  for (int i = 0; i < num_outputs; ++i) outputs[i] = find(graph, argv[7 + i]);
  TF_SessionRun(session, NULL, &input, &value, 1, outputs, values, num_outputs, NULL, 0,
                NULL, status);
  check(status, "run");

  FILE *shapes = open_in(argv[2], "shapes.txt");
  for (int i = 0; i < num_outputs; ++i) {
    write_output(argv[2], i, values[i], shapes);
    TF_DeleteTensor(values[i]);
  }
  fclose(shapes);

  TF_DeleteTensor(value);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
