//! Medians of several runs, and ratios between brokers.

use serde_json::{Map, Value as Json, json};

/// The runs of one broker in one scenario.
pub(crate) struct Runs {
    pub(crate) broker: &'static str,
    pub(crate) lines: Vec<Json>,
}

/// Figures of which the median is shown, where a scenario has them.
const MEDIANS: &[&str] = &[
    "recv_per_s",
    "cpu_s_per_M",
    "p50_us",
    "p99_us",
    "conn_per_s",
    "cpu_s_per_1k_conns",
    "bytes_per_conn",
    "bytes_per_filter",
    "idle_cpu_pct",
    "rss_peak_kib",
    "broker_cores",
    "gen_cores",
    "other_cores",
];

/// Figures of which the worst is shown: they should be 0.
const WORST: &[&str] = &["failed", "lost", "dup", "late", "bad", "closed"];

/// Figures that are compared: ours divided by theirs.
const RATIOS: &[&str] = &["cpu_s_per_M", "recv_per_s", "p50_us", "p99_us", "conn_per_s", "bytes_per_conn"];

/// A line for each broker: its medians, and for the first one its ratios to the others.
pub(crate) fn lines(scenario: &str, all: &[Runs]) -> Vec<Json> {
    all.iter()
        .enumerate()
        .map(|(at, runs)| {
            let mut line = summary(scenario, runs);
            if at == 0 {
                for other in &all[1..] {
                    line.insert(format!("vs_{}", other.broker), ratios(runs, other));
                }
            }
            Json::Object(line)
        })
        .collect()
}

fn summary(scenario: &str, runs: &Runs) -> Map<String, Json> {
    let mut line = Map::new();
    line.insert("median_of".to_owned(), json!(runs.lines.len()));
    line.insert("scenario".to_owned(), json!(scenario));
    line.insert("broker".to_owned(), json!(runs.broker));
    for name in MEDIANS {
        if let Some(value) = median(runs, name) {
            line.insert((*name).to_owned(), json!(value));
        }
    }
    for name in WORST {
        let worst = figures(runs, name).into_iter().fold(0.0, f64::max);
        line.insert((*name).to_owned(), json!(worst));
    }
    line
}

fn ratios(ours: &Runs, theirs: &Runs) -> Json {
    let ratio = |name: &&str| {
        let (ours, theirs) = (median(ours, name)?, median(theirs, name)?);
        (theirs > 0.0).then(|| ((*name).to_owned(), json!((ours / theirs * 1000.0).round() / 1000.0)))
    };
    Json::Object(RATIOS.iter().filter_map(ratio).collect())
}

fn figures(runs: &Runs, name: &str) -> Vec<f64> {
    runs.lines.iter().filter_map(|line| line[name].as_f64()).collect()
}

fn median(runs: &Runs, name: &str) -> Option<f64> {
    let mut values = figures(runs, name);
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(broker: &'static str, cpu: &[f64]) -> Runs {
        Runs { broker, lines: cpu.iter().map(|cpu| json!({"cpu_s_per_M": cpu, "lost": cpu})).collect() }
    }

    #[test]
    fn medians_and_ratios() {
        let lines = lines("s", &[runs("a", &[3.0, 1.0, 2.0]), runs("b", &[4.0, 5.0])]);
        assert_eq!(lines[0]["cpu_s_per_M"], 2.0);
        assert_eq!(lines[0]["lost"], 3.0);
        assert_eq!(lines[1]["cpu_s_per_M"], 4.5);
        assert_eq!(lines[0]["vs_b"]["cpu_s_per_M"], 0.444);
        assert!(lines[1].get("vs_a").is_none());
    }
}
