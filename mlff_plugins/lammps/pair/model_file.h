/* The file that `mlff lammps write-model` writes: a model as the kernel's C interface describes it. */
#ifndef MLFF_MODEL_FILE_H
#define MLFF_MODEL_FILE_H

#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "api.h"

namespace mlff {

/* In the byte order and layout of the machine: magic, n_elements, for each its symbol (4 bytes) and number, the
 * description (its pointers mean nothing), parameters, constants, and 1 (int32) where the model is for closed shells. */
struct ModelFile {
    static constexpr char MAGIC[9] = "MLFFPAIR";

    std::map<std::string, int> number_of_symbol;
    mlff_painn description;
    std::vector<char> parameters;
    std::vector<double> constants;
    bool closed_shell = false;

    /* Returns what is wrong with the file, or nothing. */
    std::string read(const char *path) {
        FILE *file = fopen(path, "rb");
        if (!file) return "cannot be opened";
        const std::string complaint = read(file);
        fclose(file);
        return complaint;
    }

    std::string symbols() const {
        std::string joined;
        for (const auto &element : number_of_symbol) joined += (joined.empty() ? "" : " ") + element.first;
        return joined;
    }

  private:
    std::string read(FILE *file) {
        char magic[8];
        int32_t n_elements = 0;
        if (!take(file, magic, 8) || memcmp(magic, MAGIC, 8) != 0) return "is not a file of `mlff lammps write-model`";
        if (!take(file, &n_elements, 1) || n_elements < 1 || n_elements > 118) return "is damaged";
        for (int k = 0; k < n_elements; k++) {
            char symbol[5] = {};
            int32_t number = 0;
            if (!take(file, symbol, 4) || !take(file, &number, 1)) return "is damaged";
            number_of_symbol[symbol] = number;
        }
        if (!take(file, &description, 1)) return "is damaged";
        if (description.abi != MLFF_ABI) return "was written by another version; write it anew with `mlff lammps write-model`";
        if (description.n_parameters < 0 || description.n_constants < 0 || description.n_parameters > (int64_t(1) << 32) ||
            description.n_constants > (int64_t(1) << 24))
            return "is damaged";
        parameters.resize(size_t(description.n_parameters) * (description.is_double ? sizeof(double) : sizeof(float)));
        constants.resize(size_t(description.n_constants));
        if (!take(file, parameters.data(), parameters.size()) || !take(file, constants.data(), constants.size()))
            return "is cut off";
        description.parameters = parameters.data();
        description.constants = constants.data();
        int32_t closed = 0;
        closed_shell = take(file, &closed, 1) && closed == 1;
        return "";
    }

    template <class T>
    static bool take(FILE *file, T *to, size_t count) {
        return fread(to, sizeof(T), count, file) == count;
    }
};

}  // namespace mlff
#endif
