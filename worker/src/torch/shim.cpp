// What tch does not offer of libtorch: settings that decide bits, and what is in force.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/headeronly/version.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <cstddef>
#include <cstring>
#include <optional>

namespace {

// Copies a text into a buffer of `size` bytes, cut to fit, with a terminating zero.
void give(const char* text, char* buffer, size_t size) {
    std::strncpy(buffer, text, size - 1);
    buffer[size - 1] = '\0';
}

// A linear layer whose weight does not train. The graph keeps the weight in its stored number format and widens it again in
// the backward pass, so that wide copies of all layers never exist at once.
struct FrozenLinear : public torch::autograd::Function<FrozenLinear> {
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& input,
                              const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
        context->save_for_backward({weight});
        context->saved_data["shifted"] = bias.has_value();
        return at::linear(input, weight.to(input.scalar_type()), bias);
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        const at::Tensor weight = context->get_saved_variables()[0];
        const at::Tensor& of_output = gradients[0];
        at::Tensor of_input, of_bias;
        if (context->needs_input_grad(0)) {
            of_input = of_output.matmul(weight.to(of_output.scalar_type()));
        }
        // Inputs that are absent are not counted.
        if (context->saved_data["shifted"].toBool() && context->needs_input_grad(2)) {
            of_bias = of_output.reshape({-1, of_output.size(-1)}).sum(0);
        }
        return {of_input, at::Tensor(), of_bias};
    }
};

}  // namespace

extern "C" {

// Kernels whose result depends on scheduling are replaced, or refuse to run. Returns 0, or -1 on an exception.
int headstart_deterministic() {
    try {
        auto& context = at::globalContext();
        context.setDeterministicAlgorithms(true, /*warn_only=*/false);
        // Fresh memory is always written before it is read here; filling it first would only cost time.
        context.setDeterministicFillUninitializedMemory(false);
        context.setDeterministicCuDNN(true);
        context.setBenchmarkCuDNN(false);
        context.setAllowTF32CuDNN(false);
        context.setAllowTF32CuBLAS(false);
        return 0;
    } catch (...) {
        return -1;
    }
}

// Gives free memory of all arenas back to the system, where the allocator can.
void headstart_give_back_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

// See shim.rs. Returns a tensor of its caller's, or null and a reason.
void* headstart_frozen_linear(const void* input, const void* weight, const void* bias, char* reason, size_t size) {
    try {
        std::optional<at::Tensor> shift;
        if (bias != nullptr) shift = *static_cast<const at::Tensor*>(bias);
        return new at::Tensor(FrozenLinear::apply(*static_cast<const at::Tensor*>(input),
                                                  *static_cast<const at::Tensor*>(weight), shift));
    } catch (const std::exception& error) {
        give(error.what(), reason, size);
    } catch (...) {
        give("an unknown exception", reason, size);
    }
    return nullptr;
}

// Instruction set that libtorch's own kernels use, such as AVX512.
void headstart_cpu_capability(char* buffer, size_t size) {
    give(at::get_cpu_capability().c_str(), buffer, size);
}

// Version of the headers this was compiled with, such as 2.11.0.
void headstart_torch_version(char* buffer, size_t size) {
    give(TORCH_VERSION, buffer, size);
}
}
