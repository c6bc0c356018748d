//! The counting allocator at work; alone in this file because it counts the whole process.

use sensorium_testkit::CountingAllocator;

#[global_allocator]
static MEMORY: CountingAllocator = CountingAllocator::new();

#[test]
fn calls_bytes_and_the_peak_are_counted() {
    let (_, usage) = MEMORY.count(|| {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(4096)));
        std::hint::black_box(Vec::<u8>::with_capacity(1024));
    });
    // The test harness may allocate a little on its own thread meanwhile.
    assert!((2..10).contains(&usage.allocations), "{usage:?}");
    assert!((5120..6000).contains(&usage.bytes), "{usage:?}");
    assert!((4096..5000).contains(&usage.peak), "{usage:?}");

    let (sum, usage) = MEMORY.count(|| (0..100u32).sum::<u32>());
    assert_eq!(sum, 4950);
    assert!(usage.bytes < 1000, "{usage:?}");
}
