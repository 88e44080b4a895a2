/* The CPU kernel's library, opened beside torch's: at the path where it was when this was compiled, or beside this library. */
#ifndef MLFF_KERNEL_LIBRARY_H
#define MLFF_KERNEL_LIBRARY_H

#include <dlfcn.h>

#include <string>

#include <c10/util/Exception.h>

#include "api.h"

namespace mlff_operators {

struct KernelLibrary {
    decltype(&mlff_painn_create) create = nullptr;
    decltype(&mlff_painn_evaluate) evaluate = nullptr;
    decltype(&mlff_painn_destroy) destroy = nullptr;

    /* Refuses a library of another interface. */
    static const KernelLibrary &opened() {
        static const KernelLibrary library;
        return library;
    }

  private:
    KernelLibrary() {
        const std::string built = MLFF_KERNEL_PATH;
        void *file = dlopen(built.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (!file) file = dlopen((own_folder() + built.substr(built.rfind('/') + 1)).c_str(), RTLD_NOW | RTLD_LOCAL);
        TORCH_CHECK(file, "the CPU kernel's library ", built, " cannot be opened, nor one of this name beside the operators' library; ",
                    "run `mlff operators` to build both again");
        const auto abi = reinterpret_cast<decltype(&mlff_abi)>(dlsym(file, "mlff_abi"));
        create = reinterpret_cast<decltype(create)>(dlsym(file, "mlff_painn_create"));
        evaluate = reinterpret_cast<decltype(evaluate)>(dlsym(file, "mlff_painn_evaluate"));
        destroy = reinterpret_cast<decltype(destroy)>(dlsym(file, "mlff_painn_destroy"));
        TORCH_CHECK(abi && create && evaluate && destroy && abi() == MLFF_ABI, "the CPU kernel's library ", built,
                    " has another interface than ", MLFF_ABI, ", which these operators want; run `mlff operators` to build both again");
    }

    static std::string own_folder() {
        Dl_info about;
        static const char here = 0;
        if (!dladdr(&here, &about) || !about.dli_fname) return "";
        const std::string path = about.dli_fname;
        return path.substr(0, path.rfind('/') + 1);
    }
};

}  // namespace mlff_operators
#endif
