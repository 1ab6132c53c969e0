//! What reloads cost those who ask meanwhile: a thousand tenants, one of them changed every 50 ms, and checks all the
//! time. Prints a table; both rows are of the same run. `cargo bench --bench reload`, LYCHGATE_BENCH_SECONDS for another
//! length than 20.
#![allow(clippy::panic, clippy::print_stdout, reason = "a benchmark speaks to people, and fails by panicking")]

use std::time::Duration;

#[path = "../tests/storm/driver.rs"]
mod driver;

fn main() {
    let seconds = std::env::var_os("LYCHGATE_BENCH_SECONDS");
    let seconds = seconds.map_or(20, |text| text.to_string_lossy().parse().expect("whole seconds"));
    let storm = Duration::from_secs(seconds);
    let size = driver::Size { tenants: 1000, askers: 6, quiet: storm, storm, every: Duration::from_millis(50) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let outcome = runtime.block_on(driver::play(size));
    let reloads: u64 = outcome.reloads.values().sum();
    println!(
        "{} tenants; {} files written in {seconds} s, {reloads} reloads, the last one served: {}\n",
        size.tenants, outcome.writings, outcome.last_is_served
    );
    println!("| checks | requests | failed | p50 | p99 |\n| --- | --- | --- | --- | --- |");
    for (name, asked) in [("nothing changes", &outcome.quiet), ("a file every 50 ms", &outcome.storm)] {
        let (half, most) = (asked.within(50.0), asked.within(99.0));
        println!("| {name} | {} | {} | {half:.2?} | {most:.2?} |", asked.requests(), asked.failures.len());
    }
    let ratio = outcome.storm.within(99.0).as_secs_f64() / outcome.quiet.within(99.0).as_secs_f64();
    let [first, quarter, last] = outcome.memory.map(|bytes| bytes >> 20);
    println!("\np99 with reloads, to that without: {ratio:.2}");
    println!("resident memory: {first} MiB before, {quarter} MiB after a quarter, {last} MiB after");
}
