// Runs an HLO module and its optimised form through XLA's reference evaluator, on the
// CPU and on the same random arguments, and prints how far the results differ.
//
//   evaluate HLO OPTIMISED [SEED]
//
// HLO is a serialised HloModuleProto, OPTIMISED the text of a module as `aot` writes it.
// Of library calls only cuDNN's plain forward convolution is understood. Prints one
// line of JSON; exit code 0 done, 1 failed, 2 wrong usage. For small modules: the
// evaluator is slow.

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "xla/debug_options_flags.h"
#include "xla/hlo/evaluator/hlo_evaluator.h"
#include "xla/hlo/ir/hlo_computation.h"
#include "xla/hlo/ir/hlo_instruction.h"
#include "xla/hlo/ir/hlo_module.h"
#include "xla/hlo/parser/hlo_parser.h"
#include "xla/literal.h"
#include "xla/literal_util.h"
#include "xla/shape_util.h"

namespace {

using xla::Literal;

#define RETURN_IF_ERROR(expression)                        \
  do {                                                     \
    absl::Status status_ = (expression);                   \
    if (!status_.ok()) return status_;                     \
  } while (false)

absl::StatusOr<std::string> Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError("can not read '" + path + "'");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<std::unique_ptr<xla::HloModule>> Original(const std::string& path) {
  absl::StatusOr<std::string> serialised = Read(path);
  RETURN_IF_ERROR(serialised.status());
  xla::HloModuleProto proto;
  if (!proto.ParseFromString(*serialised)) {
    return absl::InvalidArgumentError("'" + path + "' is no HloModuleProto");
  }
  auto config = xla::HloModule::CreateModuleConfigFromProto(
      proto, xla::GetDebugOptionsFromFlags());
  RETURN_IF_ERROR(config.status());
  return xla::HloModule::CreateFromProto(proto, *config);
}

// Matrices and kernels of a scale that keeps activations near 1; vectors, which may be
// variances, above 0.
absl::StatusOr<std::vector<Literal>> Arguments(const xla::HloModule& module, int seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<Literal> arguments;
  for (const auto* parameter : module.entry_computation()->parameter_instructions()) {
    Literal literal(parameter->shape());
    const int rank = parameter->shape().dimensions().size();
    if (parameter->shape().element_type() == xla::F32) {
      const double outputs = rank ? parameter->shape().dimensions(rank - 1) : 1;
      const double scale = std::sqrt(outputs / literal.element_count());
      for (float& value : literal.data<float>()) {
        const float drawn = normal(generator);
        value = rank > 1 ? drawn * scale : 0.5f + 0.1f * std::fabs(drawn);
      }
    } else if (parameter->shape().element_type() == xla::S32) {
      for (int& value : literal.data<int>()) value = generator() % 8;
    } else {
      return absl::UnimplementedError("parameters are float32 or int32, not " +
                                      parameter->shape().ToString());
    }
    arguments.push_back(std::move(literal));
  }
  return arguments;
}

// A cuDNN forward convolution as the convolution it was made from.
absl::StatusOr<Literal> LibraryCall(const xla::HloInstruction* call,
                                    absl::Span<const Literal*> operands) {
  if (call->custom_call_target() != "__cudnn$convForward" || operands.size() != 2) {
    return absl::UnimplementedError("no evaluation of " + call->custom_call_target());
  }
  const xla::Shape& shape = call->shape().tuple_shapes(0);
  auto input = xla::HloInstruction::CreateConstant(operands[0]->Clone());
  auto kernel = xla::HloInstruction::CreateConstant(operands[1]->Clone());
  auto convolution = xla::HloInstruction::CreateConvolve(
      shape, input.get(), kernel.get(), call->feature_group_count(),
      call->batch_group_count(), call->window(), call->convolution_dimension_numbers(),
      xla::PrecisionConfig());
  xla::HloEvaluator evaluator;
  auto result = evaluator.Evaluate(convolution.get(), {}, true);
  RETURN_IF_ERROR(result.status());
  Literal workspace(call->shape().tuple_shapes(1));
  return xla::LiteralUtil::MakeTupleOwned(result->Relayout(shape),
                                          std::move(workspace));
}

absl::StatusOr<Literal> Evaluate(const xla::HloModule& module,
                                 const std::vector<Literal>& arguments) {
  const auto& parameters = module.entry_computation()->parameter_instructions();
  if (parameters.size() != arguments.size()) {
    return absl::InvalidArgumentError("the modules differ in their parameters");
  }
  std::vector<Literal> laid_out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!xla::ShapeUtil::Compatible(parameters[i]->shape(), arguments[i].shape())) {
      return absl::InvalidArgumentError("the modules differ in their parameters");
    }
    laid_out.push_back(arguments[i].Relayout(parameters[i]->shape()));
  }
  xla::HloEvaluator evaluator;
  evaluator.set_use_fast_path(true);
  evaluator.set_custom_call_handler(LibraryCall);
  return evaluator.Evaluate(module, laid_out);
}

absl::Status Compare(const std::string& hlo, const std::string& optimised, int seed) {
  auto original = Original(hlo);
  RETURN_IF_ERROR(original.status());
  absl::StatusOr<std::string> text = Read(optimised);
  RETURN_IF_ERROR(text.status());
  auto changed = xla::ParseAndReturnUnverifiedModule(*text);
  RETURN_IF_ERROR(changed.status());
  auto arguments = Arguments(**original, seed);
  RETURN_IF_ERROR(arguments.status());
  auto expected = Evaluate(**original, *arguments);
  RETURN_IF_ERROR(expected.status());
  auto found = Evaluate(**changed, *arguments);
  RETURN_IF_ERROR(found.status());
  if (!xla::ShapeUtil::Compatible(expected->shape(), found->shape())) {
    return absl::InvalidArgumentError("the modules differ in their results: " +
                                      expected->shape().ToString() + " and " +
                                      found->shape().ToString());
  }
  double difference = 0, magnitude = 0;
  int64_t elements = 0;
  absl::Status status;
  xla::ShapeUtil::ForEachSubshape(
      expected->shape(), [&](const xla::Shape& shape, const xla::ShapeIndex& index) {
        if (!shape.IsArray()) return;
        if (shape.element_type() != xla::F32) {
          status = absl::UnimplementedError("results are float32, not " +
                                            shape.ToString());
          return;
        }
        const Literal a = xla::LiteralSlice(*expected, index).Clone();
        const Literal b = xla::LiteralSlice(*found, index).Relayout(a.shape());
        for (int64_t i = 0; i < a.element_count(); ++i) {
          const double gap = std::fabs(a.data<float>()[i] - b.data<float>()[i]);
          // Not a number differs from everything.
          difference = gap <= difference ? difference : gap;
          magnitude = std::fmax(magnitude, std::fabs(a.data<float>()[i]));
        }
        elements += a.element_count();
      });
  RETURN_IF_ERROR(status);
  if (!std::isfinite(difference) || !std::isfinite(magnitude)) {
    return absl::InternalError("a result is not finite");
  }
  std::cout << "{\"max_difference\": " << difference << ", \"max_magnitude\": "
            << magnitude << ", \"elements\": " << elements << "}" << std::endl;
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::cerr << "usage: evaluate HLO OPTIMISED [SEED]" << std::endl;
    return 2;
  }
  const int seed = argc > 3 ? std::atoi(argv[3]) : 0;
  const absl::Status status = Compare(argv[1], argv[2], seed);
  if (status.ok()) return 0;
  std::cerr << "evaluate: " << status.ToString(absl::StatusToStringMode::kDefault)
            << std::endl;
  return 1;
}
