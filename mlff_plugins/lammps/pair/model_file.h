/* The file that `mlff lammps write-model` writes: a model as the kernel's C interface describes it. */
#ifndef MLFF_MODEL_FILE_H
#define MLFF_MODEL_FILE_H

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "api.h"

namespace mlff {

/* In the byte order and layout of the machine: magic, n_elements, for each its symbol (4 bytes) and number, the
 * description (its pointers mean nothing), parameters, constants, 1 (int32) where the atoms must have an even number of
 * electrons or else 0, and the CRC-32 of all that. */
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
        std::vector<char> content;
        char part[1 << 16];
        for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;) content.insert(content.end(), part, part + n);
        fclose(file);
        Source from = {content.data(), content.data() + content.size()};
        return parse(from);
    }

    std::string symbols() const {
        std::string joined;
        for (const auto &element : number_of_symbol) joined += (joined.empty() ? "" : " ") + element.first;
        return joined;
    }

  private:
    struct Source {
        const char *at, *end;
    };

    std::string parse(Source &from) {
        const char *start = from.at;
        char magic[8];
        int32_t n_elements = 0;
        uint32_t written = 0;
        if (!take(from, magic, 8) || memcmp(magic, MAGIC, 8) != 0) return "is not a file of `mlff lammps write-model`";
        if (from.end - from.at < 4) return "is cut off";
        memcpy(&written, from.end -= 4, 4);
        if (crc32(start, from.end) != written)
            return "is damaged or cut off, or was written by another version; write it anew with `mlff lammps write-model`";
        if (!take(from, &n_elements, 1) || n_elements < 1 || n_elements > 118) return "is damaged";
        for (int k = 0; k < n_elements; k++) {
            char symbol[5] = {};
            int32_t number = 0;
            if (!take(from, symbol, 4) || !take(from, &number, 1)) return "is damaged";
            number_of_symbol[symbol] = number;
        }
        if (!take(from, &description, 1)) return "is damaged";
        if (description.abi != MLFF_ABI) return "was written by another version; write it anew with `mlff lammps write-model`";
        if (description.n_parameters < 0 || description.n_constants < 0 || description.n_parameters > (int64_t(1) << 32) ||
            description.n_constants > (int64_t(1) << 24))
            return "is damaged";
        parameters.resize(size_t(description.n_parameters) * (description.is_double ? sizeof(double) : sizeof(float)));
        constants.resize(size_t(description.n_constants));
        int32_t is_even = 0;
        if (!take(from, parameters.data(), parameters.size()) || !take(from, constants.data(), constants.size()) ||
            !take(from, &is_even, 1))
            return "is cut off";
        description.parameters = parameters.data();
        description.constants = constants.data();
        closed_shell = is_even == 1;
        return "";
    }

    template <class T>
    static bool take(Source &from, T *to, size_t count) {
        if (size_t(from.end - from.at) / sizeof(T) < count) return false;
        memcpy(to, from.at, count * sizeof(T));
        from.at += count * sizeof(T);
        return true;
    }

    /* The checksum of zlib, PNG and Ethernet. */
    static uint32_t crc32(const char *at, const char *end) {
        uint32_t sum = 0xffffffffu;
        for (; at < end; at++) {
            sum ^= uint8_t(*at);
            for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (sum & 1 ? 0xedb88320u : 0u);
        }
        return ~sum;
    }
};

}  // namespace mlff
#endif
