#include "pool.h"

#include <chrono>
#include <unistd.h>

namespace mlff {

/* To wake a sleeping thread takes tens of microseconds, and they meet once a layer: so one that waits looks again for as
 * long before it sleeps, each time after the processor was offered to whoever else has work. */
constexpr std::chrono::microseconds AWAKE{50};

template <class Condition>
static void look_for(Condition met) {
    const auto end = std::chrono::steady_clock::now() + AWAKE;
    while (!met() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

struct Pool::Crew {
    pid_t process = getpid();
    std::mutex mutex;
    std::condition_variable start, done;
    std::vector<std::thread> threads;
    /* Changed under the mutex, and looked at without it. */
    std::atomic<uint64_t> round{0};
    std::atomic<int> working{0};
    std::atomic<bool> closing{false};
    int wanted = 0;
    Task task = nullptr;
    void *context = nullptr;
    int64_t n_items = 0;
    std::atomic<int64_t> next{0};

    void work(int thread) {
        for (int64_t item; (item = next.fetch_add(1)) < n_items;) task(context, item, thread);
    }

    void live(int thread) {
        uint64_t seen = 0;
        const auto called = [&] { return closing || round != seen; };
        for (;;) {
            if (seen) look_for(called);
            std::unique_lock<std::mutex> lock(mutex);
            start.wait(lock, called);
            if (closing) return;
            seen = round;
            if (thread >= wanted) continue;
            lock.unlock();
            work(thread);
            lock.lock();
            if (--working == 0) done.notify_one();
        }
    }
};

Pool::~Pool() {
    if (!crew_) return;
    if (crew_->process != getpid()) {
        /* A fork copied the object but not its threads: nothing can be joined, so it is left behind. */
        new std::shared_ptr<Crew>(crew_);
        return;
    }
    {
        std::lock_guard<std::mutex> guard(crew_->mutex);
        crew_->closing = true;
    }
    crew_->start.notify_all();
    for (std::thread &thread : crew_->threads) thread.join();
}

Lease::Lease(Pool &pool, int wanted) : n_threads(1), lock_(pool.lease_, std::defer_lock) {
    if (wanted < 2 || !lock_.try_lock()) return;
    if (pool.crew_ && pool.crew_->process != getpid()) {
        new std::shared_ptr<Pool::Crew>(pool.crew_);
        pool.crew_.reset();
    }
    if (!pool.crew_) pool.crew_ = std::make_shared<Pool::Crew>();
    Pool::Crew &crew = *pool.crew_;
    try {
        while (int(crew.threads.size()) + 1 < wanted) {
            const int thread = int(crew.threads.size()) + 1;
            std::lock_guard<std::mutex> guard(crew.mutex);
            crew.threads.emplace_back([&crew, thread] { crew.live(thread); });
        }
    } catch (const std::system_error &) {
        /* No more threads are to be had; those there are will do. */
    }
    n_threads = int(crew.threads.size()) + 1 < wanted ? int(crew.threads.size()) + 1 : wanted;
}

void Pool::run(void *pool, int n_threads, int64_t n_items, Task task, void *context) {
    if (n_threads > n_items) n_threads = int(n_items);
    if (n_threads < 2) {
        for (int64_t item = 0; item < n_items; item++) task(context, item, 0);
        return;
    }
    Crew &crew = *static_cast<Pool *>(pool)->crew_;
    {
        std::lock_guard<std::mutex> guard(crew.mutex);
        crew.task = task;
        crew.context = context;
        crew.n_items = n_items;
        crew.next.store(0);
        crew.wanted = n_threads;
        crew.working = n_threads - 1;
        crew.round++;
    }
    crew.start.notify_all();
    crew.work(0);
    look_for([&] { return crew.working == 0; });
    std::unique_lock<std::mutex> lock(crew.mutex);
    crew.done.wait(lock, [&] { return crew.working == 0; });
}

}  // namespace mlff
