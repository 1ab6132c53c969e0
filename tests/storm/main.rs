//! The reload storm: a thousand tenants, one of them changed every 50 ms, and nobody who asks notices. LYCHGATE_TEST_SECONDS
//! says how long, 20 if it says nothing.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking, and says what it measured")]

mod driver;

use std::time::Duration;

use self::driver::{Outcome, Size, play};

const MEBIBYTE: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute and measures; `tests/run` runs it by itself"]
async fn a_storm_of_reloads_fails_no_request_and_takes_no_memory() {
    let seconds = std::env::var_os("LYCHGATE_TEST_SECONDS");
    let seconds = seconds.map_or(20, |text| text.to_string_lossy().parse().expect("whole seconds"));
    let storm = Duration::from_secs(seconds);
    let size = Size { tenants: 1000, askers: 6, quiet: storm / 4, storm, every: Duration::from_millis(50) };
    let outcome = play(size).await;
    let Outcome { quiet, storm: stormy, writings, reloads, memory, last_is_served } = &outcome;
    println!(
        "{} tenants, {} who ask; {writings} files written in {seconds} s, reloads: {reloads:?}",
        size.tenants, size.askers
    );
    println!("quiet: {quiet}\nstorm: {stormy}");
    let [first, quarter, last] = memory.map(|bytes| bytes / MEBIBYTE);
    println!("resident memory: {first} MiB before, {quarter} MiB after a quarter, {last} MiB after");

    assert!(quiet.failures.is_empty() && stormy.failures.is_empty(), "{:?} {:?}", quiet.failures, stormy.failures);
    assert!(stormy.requests() > 100 * seconds as usize, "that was no load");
    assert!(*writings as u64 > 15 * seconds, "that was no storm");
    assert!(last_is_served, "what was written last is not served");
    assert!(reloads["partial"] > 0 && reloads["rejected"] == 0, "a file was no good for a while");
    let applied = reloads.values().sum::<u64>();
    assert!(applied >= seconds / 4, "a reload at least every four seconds");
    assert!(applied <= 2 * seconds + 2, "changes within half a second are one");
    assert!(memory[2] <= memory[1] + memory[1] / 10 + 8 * MEBIBYTE, "memory grows");
}
