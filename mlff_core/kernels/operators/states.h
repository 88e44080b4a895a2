/* What the operators keep for each model: found by the storage of its bytes, and let go with that. */
#ifndef MLFF_STATES_H
#define MLFF_STATES_H

#include <memory>
#include <unordered_map>

#include <ATen/core/Tensor.h>
#include <torch/version.h>
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/version.h>
#endif

#include "structure.h"

namespace mlff_operators {

struct State {
    State(const uint8_t *bytes, size_t n_bytes) : model(bytes, n_bytes), structure(model) {}

    const PackedModel model;
    std::mutex mutex; /* of the structure: Contexts in several threads may share a module */
    Structure structure;
};

/* Refuses a torch of another version than this was compiled with, whose classes may have another layout. */
inline void check_torch() {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
    const uint64_t here = aoti_torch_abi_version() >> 48, wanted = TORCH_ABI_VERSION >> 48;
    TORCH_CHECK(here == wanted, "these operators were built for torch ", wanted >> 8, ".", wanted & 255, ", but this program has torch ",
                here >> 8, ".", here & 255, "; run `mlff operators` with that torch");
#endif
}

/* Two modules with equal bytes in two storages have two states, so that two simulations do not share neighbours. */
class States {
  public:
    static std::shared_ptr<State> of(const at::Tensor &model) {
        static States all;
        static const bool checked = (check_torch(), true);
        (void)checked;
        return all.found(model);
    }

  private:
    struct Entry {
        c10::weak_intrusive_ptr<c10::StorageImpl> storage; /* while it is held, no other storage has its address */
        std::shared_ptr<State> state;
    };

    std::mutex mutex;
    std::unordered_map<const c10::StorageImpl *, Entry> entries;

    std::shared_ptr<State> found(const at::Tensor &model) {
        TORCH_CHECK(model.scalar_type() == at::kByte && model.dim() == 1,
                    "a model is bytes (torch.uint8) in one dimension, got ", model.scalar_type(), " in ", model.dim(),
                    "; do not change the precision of a fused file, export it again with --dtype");
        const c10::Storage &storage = model.storage();
        std::lock_guard<std::mutex> guard(mutex);
        const auto known = entries.find(storage.unsafeGetStorageImpl());
        if (known != entries.end() && !known->second.storage.expired() && is_same(model, known->second.state->model)) return known->second.state;
        for (auto entry = entries.begin(); entry != entries.end();) entry = entry->second.storage.expired() ? entries.erase(entry) : std::next(entry);
        const at::Tensor bytes = model.cpu().contiguous();
        auto state = std::make_shared<State>(bytes.const_data_ptr<uint8_t>(), size_t(bytes.numel()));
        entries.insert_or_assign(storage.unsafeGetStorageImpl(), Entry{storage.getWeakStorageImpl(), state});
        return state;
    }

    /* Whether the bytes are still those of the state, by their checksum; on a GPU looking would cost more than a step. */
    static bool is_same(const at::Tensor &model, const PackedModel &known) {
        if (!model.is_cpu()) return true;
        uint32_t checksum = 0;
        if (model.numel() < 4 || !model.is_contiguous()) return false;
        memcpy(&checksum, model.const_data_ptr<uint8_t>() + model.numel() - 4, 4);
        return checksum == known.checksum;
    }
};

}  // namespace mlff_operators
#endif
