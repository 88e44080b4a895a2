/* Threads that sleep until there is work: none of them ever spins. */
#ifndef MLFF_POOL_H
#define MLFF_POOL_H

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#include <stdint.h>

namespace mlff {

class Pool {
public:
    typedef void (*Task)(void *, int64_t, int);

    Pool() = default;
    ~Pool();
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;

    static void run(void *pool, int n_threads, int64_t n_items, Task task, void *context);

private:
    friend class Lease;
    struct Crew;

    std::mutex lease_;
    std::shared_ptr<Crew> crew_;
};

/* The right to use a pool's threads during one evaluation; where another has it, one thread is what one gets. */
class Lease {
public:
    Lease(Pool &pool, int n_threads);

    int n_threads;

private:
    std::unique_lock<std::mutex> lock_;
};

}  // namespace mlff
#endif
