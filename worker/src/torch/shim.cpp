// What tch does not offer of libtorch: settings that decide bits, and what is in force.
#include <ATen/Context.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include <cstddef>
#include <cstring>

namespace {

// Copies a text into a buffer of `size` bytes, cut to fit, with a terminating zero.
void give(const char* text, char* buffer, size_t size) {
    std::strncpy(buffer, text, size - 1);
    buffer[size - 1] = '\0';
}

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

// Instruction set that libtorch's own kernels use, such as AVX512.
void headstart_cpu_capability(char* buffer, size_t size) {
    give(at::get_cpu_capability().c_str(), buffer, size);
}

// Version of the headers this was compiled with, such as 2.11.0.
void headstart_torch_version(char* buffer, size_t size) {
    give(TORCH_VERSION, buffer, size);
}
}
