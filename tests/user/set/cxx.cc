/* C++: exceptions through frames, threads and handlers; thread-local objects; futures. */
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

static std::atomic<int> alive, destroyed;
struct Counted { Counted() { alive++; } ~Counted() { alive--; } };
static __attribute__((noinline)) int deep(int n)
{
	Counted c;
	if (n == 0)
		throw std::runtime_error("from the depth");
	return deep(n - 1) + 1;
}
struct Base { virtual ~Base() = default; virtual int kind() const { return 1; } };
struct Derived : Base { int kind() const override { return 2; } };
static __attribute__((noinline)) void rethrow() { try { throw Derived(); } catch (Base &b) { if (b.kind() != 2) std::puts("WRONG"); throw; } }
struct Local { int value = 0; Local() { alive++; } ~Local() { alive--; destroyed++; } };
static thread_local Local local;
static int no_throw() noexcept { try { deep(5); } catch (...) { return 5; } return 0; }

/* Out of a handler of a fault in the program itself (compiled with -fnon-call-exceptions). */
struct Fault { int number; };
static void thrower() { throw Fault{ SIGSEGV }; }
static void handler(int, siginfo_t *, void *context)
{
	(void)context;
#ifdef __arm__
	/* ARM's tables cannot unwind the handler's frame: as if the faulting instruction had called the function that throws. */
	auto &r = static_cast<ucontext_t *>(context)->uc_mcontext;
	r.arm_lr = r.arm_pc + 2 + (r.arm_cpsr & 0x20 ? 1 : 2);
	r.arm_pc = reinterpret_cast<uintptr_t>(thrower) & ~1u;
	r.arm_cpsr = (r.arm_cpsr & ~0x20u) | (reinterpret_cast<uintptr_t>(thrower) & 1 ? 0x20 : 0);
#else
	thrower();
#endif
}
static __attribute__((noinline)) int read_from(volatile int *p) { Counted c; return *p; }

int main()
{
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	try { deep(1000); } catch (const std::exception &e) { std::printf("caught: %s, alive %d\n", e.what(), alive.load()); }
	try { rethrow(); } catch (Derived &d) { std::printf("derived: %d\n", d.kind()); }
	int sum = 0;
	for (int i = 0; i < 2000; i++)
		try { if (i % 3 == 0) throw i; if (i % 3 == 1) throw std::string("text"); throw 1.5; } catch (int n) { sum += n; } catch (std::string &s) { sum += s.size(); } catch (...) { sum += 1; }
	std::printf("kinds: %d, noexcept %d\n", sum, no_throw());
	std::vector<std::thread> threads;
	std::atomic<int> caught{ 0 };
	for (int i = 0; i < 6; i++)
		threads.emplace_back([&, i] { local.value = i; for (int k = 0; k < 200; k++) try { deep(20 + k % 7); } catch (std::runtime_error &) { caught++; } if (local.value != i) std::puts("WRONG local"); });
	for (auto &t : threads) t.join();
	std::printf("caught by threads: %d, locals destroyed %d, alive %d\n", caught.load(), destroyed.load(), alive.load());
	auto failing = std::async(std::launch::async, []() -> int { throw std::logic_error("in another thread"); });
	try { failing.get(); } catch (std::logic_error &e) { std::printf("future: %s\n", e.what()); }
	std::promise<std::string> promise;
	std::thread setter([&] { promise.set_value("promised"); });
	std::printf("%s\n", promise.get_future().get().c_str());
	setter.join();
	std::shared_mutex mutex;
	std::map<int, int> map;
	threads.clear();
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&, i] { for (int k = 0; k < 500; k++) { { std::unique_lock l(mutex); map[i * 1000 + k] = k; } std::shared_lock l(mutex); if (map.at(i * 1000 + k) != k) std::puts("WRONG"); } });
	for (auto &t : threads) t.join();
	std::printf("map: %zu\n", map.size());
	std::shared_ptr<int> shared = std::make_shared<int>(5);
	threads.clear();
	for (int i = 0; i < 4; i++)
		threads.emplace_back([shared] { for (int k = 0; k < 5000; k++) { auto copy = shared; if (*copy != 5) std::puts("WRONG"); } });
	for (auto &t : threads) t.join();
	std::printf("shared: %ld\n", shared.use_count() - 0);
	std::atomic<long long> wide{ 0 };
	threads.clear();
	for (int i = 0; i < 4; i++)
		threads.emplace_back([&] { for (int k = 0; k < 5000; k++) wide += 0x100000001LL; });
	for (auto &t : threads) t.join();
	std::printf("wide: %llx\n", (unsigned long long)wide.load());
	std::condition_variable cv;
	std::mutex m;
	bool ready = false;
	std::thread waker([&] { std::this_thread::sleep_for(std::chrono::milliseconds(10)); std::lock_guard l(m); ready = true; cv.notify_all(); });
	{ std::unique_lock l(m); std::printf("wait_for: %d\n", cv.wait_for(l, std::chrono::seconds(100), [&] { return ready; })); }
	waker.join();
	struct sigaction action = {};
	action.sa_sigaction = handler;
	action.sa_flags = SA_SIGINFO | SA_NODEFER;
	sigaction(SIGSEGV, &action, nullptr);
	int faults = 0;
	for (int i = 0; i < 50; i++)
		try { read_from(reinterpret_cast<volatile int *>(16)); std::puts("WRONG: no fault"); } catch (Fault &f) { faults += f.number == SIGSEGV; }
	std::printf("thrown by handlers: %d, alive %d\n", faults, alive.load());
	try { std::vector<int>().at(3); } catch (std::out_of_range &) { std::puts("out of range"); }
	try { volatile size_t half = static_cast<size_t>(-1) - 100000; std::unique_ptr<char[]> much(new char[half]); asm volatile("" :: "r"(much.get()) : "memory"); std::puts("WRONG"); } catch (std::bad_alloc &) { std::puts("bad_alloc"); }
	std::set_terminate([] { std::puts("terminated"); _exit(3); });
	throw 1;
}
