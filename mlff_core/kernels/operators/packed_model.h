/* A model as bytes, as mlff_core/kernels/operator_model.py writes them into a buffer of a file, and as the kernel holds it. */
#ifndef MLFF_PACKED_MODEL_H
#define MLFF_PACKED_MODEL_H

#include <cstring>
#include <vector>

#include "kernel_library.h"

namespace mlff_operators {

/* In the byte order and layout of the machine: magic, the description (its pointers mean nothing), parameters, constants,
 * and the CRC-32 of all that. */
class PackedModel {
  public:
    static constexpr char MAGIC[9] = "MLFFOPER";

    PackedModel(const uint8_t *bytes, size_t n_bytes) {
        constexpr size_t head = 8 + sizeof(mlff_painn);
        TORCH_CHECK(n_bytes >= head + 4 && memcmp(bytes, MAGIC, 8) == 0,
                    "the model in this file is damaged: it does not begin as a model does; export the file again");
        memcpy(&checksum, bytes + n_bytes - 4, 4);
        TORCH_CHECK(crc32(bytes, n_bytes - 4) == checksum,
                    "the model in this file is damaged: its checksum is wrong; export the file again");
        memcpy(&description, bytes + 8, sizeof description);
        TORCH_CHECK(description.abi == MLFF_ABI, "this file was exported for interface ", description.abi,
                    " of the CPU kernel, but the loaded operators have interface ", MLFF_ABI,
                    "; export the file again with the version of mlff-hub that the operators come from");
        const size_t real = description.is_double ? sizeof(double) : sizeof(float), left = n_bytes - head - 4;
        TORCH_CHECK(description.n_parameters >= 0 && description.n_constants >= 0 &&
                        uint64_t(description.n_parameters) <= left / real &&
                        uint64_t(description.n_constants) <= left / sizeof(double) &&
                        size_t(description.n_parameters) * real + size_t(description.n_constants) * sizeof(double) == left,
                    "the model in this file is damaged: its parts do not fit its length; export the file again");
        /* Copied, since the kernel reads them aligned. */
        std::vector<double> parameters((size_t(description.n_parameters) * real + 7) / 8), constants(size_t(description.n_constants));
        memcpy(parameters.data(), bytes + head, size_t(description.n_parameters) * real);
        memcpy(constants.data(), bytes + head + size_t(description.n_parameters) * real, constants.size() * sizeof(double));
        description.parameters = parameters.data();
        description.constants = constants.data();
        handle = KernelLibrary::opened().create(&description, nullptr);
        description.parameters = nullptr;
        description.constants = nullptr;
        TORCH_CHECK(handle, "the CPU kernel cannot hold the model in this file; export it with `--option operator=portable`");
    }
    ~PackedModel() { KernelLibrary::opened().destroy(handle); }
    PackedModel(const PackedModel &) = delete;
    PackedModel &operator=(const PackedModel &) = delete;

    int32_t evaluate(mlff_batch &batch) const { return KernelLibrary::opened().evaluate(handle, &batch); }

    mlff_painn description;
    uint32_t checksum = 0;

  private:
    void *handle = nullptr;

    /* The checksum of zlib, PNG and Ethernet. */
    static uint32_t crc32(const uint8_t *at, size_t count) {
        uint32_t sum = 0xffffffffu;
        for (const uint8_t *end = at + count; at < end; at++) {
            sum ^= *at;
            for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ (sum & 1 ? 0xedb88320u : 0u);
        }
        return ~sum;
    }
};

}  // namespace mlff_operators
#endif
