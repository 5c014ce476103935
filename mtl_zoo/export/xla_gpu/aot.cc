// Compiles an HLO module for a named GPU, ahead of time and without any GPU, with the
// XLA inside the installed TensorFlow.
//
//   aot HLO TARGET PREFIX
//
// HLO is a serialised HloModuleProto. TARGET is sm_80, sm_86, sm_90 or sm_100, or the
// path of a GpuTargetConfigProto in text form. XLA's own flags come from XLA_FLAGS.
//
// Writes PREFIX.hlo.pb (what was compiled: HLO without the places in source files),
// PREFIX.aot (the serialised executable), PREFIX.opt.hlo.txt (the optimised module) and,
// out of the executable loaded again from its serialised form, PREFIX.ptx, PREFIX.cubin
// and PREFIX.launches.txt (the launches in order). Prints the name of the target device.
// All files appear or none; exit code 0 done, 1 failed, 2 wrong usage.

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/text_format.h"
#include "xla/backends/gpu/runtime/thunk.pb.h"
#include "xla/backends/gpu/target_config/target_config.h"
#include "xla/debug_options_flags.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/service/compiled_module.h"
#include "xla/service/compiler.h"
#include "xla/service/executable.h"
#include "xla/service/gpu/gpu_executable.pb.h"
#include "xla/service/gpu_topology.h"
#include "xla/stream_executor/cuda/cuda_platform_id.h"

namespace xla::gpu {

// XLA's own header of this class needs headers of LLVM, which TensorFlow does not ship.
// This member is not virtual and is exported, so that no more has to be known.
class GpuExecutable : public Executable {
 public:
  absl::StatusOr<GpuExecutableProto> ToProto() const;
};

}  // namespace xla::gpu

namespace {

using stream_executor::GpuTargetConfigProto;
using stream_executor::cuda::kCudaPlatformId;
using xla::gpu::GpuExecutable;
using xla::gpu::GpuModel;
using xla::gpu::GpuTargetConfig;
using xla::gpu::ThunkProto;

#define RETURN_IF_ERROR(expression)                        \
  do {                                                     \
    absl::Status status_ = (expression);                   \
    if (!status_.ok()) return status_;                     \
  } while (false)

// The files to write: what follows the prefix, and the content.
using Files = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<std::string> Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("can not read '" + path + "'");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Writes every file under another name before any gets its own.
absl::Status Write(const std::string& prefix, const Files& files) {
  absl::Status status;
  for (const auto& [suffix, content] : files) {
    std::ofstream file(prefix + suffix + ".tmp", std::ios::binary);
    file.write(content.data(), content.size());
    file.close();
    if (!file) status = absl::InternalError("can not write " + prefix + suffix);
  }
  for (const auto& [suffix, content] : files) {
    const std::string path = prefix + suffix;
    if (!status.ok()) {
      std::remove((path + ".tmp").c_str());
    } else if (std::rename((path + ".tmp").c_str(), path.c_str()) != 0) {
      status = absl::InternalError("can not rename to " + path);
    }
  }
  return status;
}

absl::StatusOr<GpuTargetConfig> Target(const std::string& name) {
  const std::vector<std::pair<std::string, GpuModel>> known = {
      {"sm_80", GpuModel::A100_SXM_80},
      {"sm_86", GpuModel::A6000},
      {"sm_90", GpuModel::H100_SXM},
      {"sm_100", GpuModel::B200}};
  for (const auto& [sm, model] : known) {
    if (sm != name) continue;
    absl::StatusOr<GpuTargetConfigProto> proto = xla::gpu::GetGpuTargetConfig(model);
    RETURN_IF_ERROR(proto.status());
    return GpuTargetConfig::FromProto(*proto);
  }
  absl::StatusOr<std::string> text = Read(name);
  RETURN_IF_ERROR(text.status());
  GpuTargetConfigProto proto;
  if (!google::protobuf::TextFormat::ParseFromString(*text, &proto)) {
    return absl::InvalidArgumentError("'" + name + "' is no GpuTargetConfigProto");
  }
  return GpuTargetConfig::FromProto(proto);
}

absl::StatusOr<std::unique_ptr<xla::HloModule>> Module(const std::string& path) {
  absl::StatusOr<std::string> serialised = Read(path);
  RETURN_IF_ERROR(serialised.status());
  xla::HloModuleProto proto;
  if (!proto.ParseFromString(*serialised)) {
    return absl::InvalidArgumentError("'" + path + "' is no HloModuleProto");
  }
  // Where in whose file an operation was written is no part of a shipped artefact.
  for (auto& computation : *proto.mutable_computations()) {
    for (auto& instruction : *computation.mutable_instructions()) {
      instruction.clear_metadata();
    }
  }
  proto.clear_stack_frame_index();
  auto config = xla::HloModule::CreateModuleConfigFromProto(
      proto, xla::GetDebugOptionsFromFlags());
  RETURN_IF_ERROR(config.status());
  return xla::HloModule::CreateFromProto(proto, *config);
}

// One line a launch: what kind it is, the kernel or "-", the HLO instruction.
std::string Launches(const ThunkProto& thunk) {
  if (thunk.has_sequential_thunk()) {
    std::string lines;
    for (const ThunkProto& part : thunk.sequential_thunk().thunks()) {
      lines += Launches(part);
    }
    return lines;
  }
  const auto* kinds = ThunkProto::descriptor()->FindOneofByName("impl");
  const auto* kind = thunk.GetReflection()->GetOneofFieldDescriptor(thunk, kinds);
  const std::string kernel =
      thunk.has_kernel_thunk() ? thunk.kernel_thunk().kernel_name() : "-";
  return (kind ? std::string(kind->name()) : "unknown") + " " + kernel + " " +
         thunk.thunk_info().profile_annotation() + "\n";
}

absl::Status Compile(const std::string& hlo, const std::string& name,
                     const std::string& prefix) {
  absl::StatusOr<GpuTargetConfig> target = Target(name);
  RETURN_IF_ERROR(target.status());
  auto module = Module(hlo);
  RETURN_IF_ERROR(module.status());
  const std::string given = (*module)->ToProto().SerializeAsString();
  auto compiler = xla::Compiler::GetForPlatform(kCudaPlatformId);
  RETURN_IF_ERROR(compiler.status());

  xla::AotCompilationOptions options(kCudaPlatformId);
  options.set_gpu_topology(xla::GetSingleDeviceGpuTopology("", *target));
  auto results = (*compiler)->CompileAheadOfTime(*std::move(module), options);
  RETURN_IF_ERROR(results.status());
  if (results->size() != 1 || results->front()->optimized_module() == nullptr) {
    return absl::InternalError("expected one executable with its optimised module");
  }
  auto serialised = results->front()->SerializeAsString();
  RETURN_IF_ERROR(serialised.status());

  auto again = (*compiler)->LoadAotCompilationResult(*serialised);
  RETURN_IF_ERROR(again.status());
  auto loaded = std::move(**again).LoadExecutable(kCudaPlatformId,
                                                  target->device_description);
  RETURN_IF_ERROR(loaded.status());
  // The CUDA compiler makes no other kind of executable.
  auto executable = static_cast<const GpuExecutable&>(**loaded).ToProto();
  RETURN_IF_ERROR(executable.status());
  if (executable->asm_text().empty() || executable->binary().empty()) {
    return absl::InternalError("the executable loaded again has no kernels");
  }
  RETURN_IF_ERROR(
      Write(prefix, {{".hlo.pb", given},
                     {".aot", *serialised},
                     {".opt.hlo.txt", results->front()->optimized_module()->ToString()},
                     {".ptx", executable->asm_text()},
                     {".cubin", executable->binary()},
                     {".launches.txt", Launches(executable->thunk())}}));
  std::cout << target->device_description_str << std::endl;
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: aot HLO TARGET PREFIX" << std::endl;
    return 2;
  }
  const absl::Status status = Compile(argv[1], argv[2], argv[3]);
  if (status.ok()) return 0;
  std::cerr << "aot: " << status.ToString(absl::StatusToStringMode::kDefault)
            << std::endl;
  return 1;
}
