//! Benchmarks of single parts: criterion runs them, its estimates are printed as JSON lines.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value as Json, json};
use tests_services::target_folder;

use super::cargo;

/// Rules on messages.
pub(crate) fn engine(arguments: &[String]) -> anyhow::Result<()> {
    measure("engine-sql", "rules", &["rules"], 1.0, arguments)
}

/// Packets to bytes and back.
pub(crate) fn codec(arguments: &[String]) -> anyhow::Result<()> {
    /// Packets of one iteration: see `broker/codec/benches/publish.rs`.
    const PACKETS: f64 = 64.0;
    measure("broker-codec", "publish", &["v4", "v5", "v5_3_properties"], PACKETS, arguments)
}

/// Rows through the runtime: a program of its own that prints its lines.
pub(crate) fn runtime(arguments: &[String]) -> anyhow::Result<()> {
    let mut all =
        vec!["run", "--quiet", "--profile", "load", "-p", "engine-runtime", "--example", "bench", "--"];
    all.extend(arguments.iter().map(String::as_str));
    cargo(&all)
}

/// Runs a criterion bench and prints a line for each of its functions.
fn measure(
    package: &str,
    bench: &str,
    groups: &[&str],
    elements: f64,
    arguments: &[String],
) -> anyhow::Result<()> {
    let folder = target_folder().join("criterion");
    for group in groups {
        // estimates of functions that are no more would be printed with the new ones
        let _ = fs::remove_dir_all(folder.join(group));
    }
    let mut all = vec!["bench", "-p", package, "--bench", bench, "--"];
    all.extend(arguments.iter().map(String::as_str));
    cargo(&all)?;
    for group in groups {
        let mut lines = Vec::new();
        collect(&folder.join(group), elements, &mut lines)?;
        lines.sort_by_key(|line: &Json| line["scenario"].to_string());
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Reads criterion's estimates below a folder.
fn collect(folder: &Path, elements: f64, lines: &mut Vec<Json>) -> anyhow::Result<()> {
    let estimates = folder.join("new").join("estimates.json");
    if estimates.is_file() {
        lines.push(line(folder, &estimates, elements)?);
        return Ok(());
    }
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read `{}`", folder.display()))?.path();
        if path.is_dir() {
            collect(&path, elements, lines)?;
        }
    }
    Ok(())
}

fn line(folder: &Path, estimates: &Path, elements: f64) -> anyhow::Result<Json> {
    let read = |path: &Path| -> anyhow::Result<Json> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}` is not JSON", path.display()))
    };
    let names = read(&folder.join("new").join("benchmark.json"))?;
    let nanoseconds = read(estimates)?["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("no median in `{}`", estimates.display()))?;
    Ok(json!({
        "scenario": names["full_id"],
        "nanoseconds": (nanoseconds / elements * 10.0).round() / 10.0,
        "per_second_and_core": (1e9 / nanoseconds * elements).round() as u64,
    }))
}
