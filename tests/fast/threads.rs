//! Threads do what they are given, in order, and pass panics on.

use hungry_hippos::threads::{Parked, Task, in_two};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{ThreadId, current, sleep};
use std::time::Duration;

#[test]
fn buffers_are_drained_in_order_and_a_panic_is_passed_on() {
    let drained = Mutex::new(Vec::new());
    let run = |bad: usize| {
        let mut next = 0;
        in_two(
            |buffer: &mut usize| {
                *buffer = next;
                next += 1;
                next <= 100
            },
            &|buffer| {
                assert!(*buffer != bad, "a buffer that cannot be drained");
                drained.lock().unwrap().push(*buffer);
            },
        );
    };
    // Whichever thread is ahead when the last one is filled.
    for _ in 0..200 {
        drained.lock().unwrap().clear();
        run(usize::MAX);
        assert!(drained.lock().unwrap().iter().copied().eq(0..100));
    }
    let run = std::panic::AssertUnwindSafe(|| run(50));
    assert!(std::panic::catch_unwind(run).is_err());
}

/// Numbers to be taken, each by one thread.
struct Count {
    next: AtomicUsize,
    end: usize,
    taken: Mutex<Vec<(usize, ThreadId)>>,
    pause: Duration,
}

impl Count {
    fn new(end: usize, pause: Duration) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicUsize::new(0),
            end,
            taken: Mutex::default(),
            pause,
        })
    }
}

impl Task for Count {
    fn work(&self) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= self.end {
                return;
            }
            assert!(at != 666, "an item that cannot be worked on");
            sleep(self.pause);
            self.taken.lock().unwrap().push((at, current().id()));
        }
    }
}

#[test]
fn parked_threads_do_one_task_after_another_and_give_back_what_it_owned() {
    let mut parked = Parked::new(2);
    let mut threads = BTreeSet::new();
    for round in 0..40 {
        // Every tenth finds the threads asleep.
        if round % 10 == 9 {
            sleep(Duration::from_millis(2));
        }
        let task = Count::new(6, Duration::from_micros(200));
        parked.run(&task);
        let task = Arc::into_inner(task).expect("no other thread has it");
        let mut taken = task.taken.into_inner().unwrap();
        threads.extend(taken.iter().map(|(_, id)| format!("{id:?}")));
        taken.sort_by_key(|(at, _)| *at);
        assert!(taken.iter().map(|(at, _)| *at).eq(0..6));
    }
    // Started once: the caller's, and no more than two others in all rounds.
    assert!((2..=3).contains(&threads.len()), "{threads:?}");
    let one = Count::new(3, Duration::ZERO);
    parked.clone().run(&one);
    assert_eq!(one.taken.lock().unwrap().len(), 3);
}

#[test]
fn a_panic_of_a_task_is_passed_on_and_the_threads_go_on() {
    let mut parked = Parked::new(1);
    let failing = Count::new(1000, Duration::ZERO);
    let run = std::panic::AssertUnwindSafe(|| parked.run(&failing));
    assert!(std::panic::catch_unwind(run).is_err());
    let task = Count::new(100, Duration::ZERO);
    parked.run(&task);
    assert_eq!(task.taken.lock().unwrap().len(), 100);
}
