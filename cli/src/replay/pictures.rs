//! The report as pictures.

use replay::{Band, Counts, Replayed, Residency};

use super::report::Report;
use crate::plot::{Heat, HeatBand, Line, Lines, Values};
use crate::size::thousands;

/// Operations and ioctls over time.
pub fn costs(report: &Report<'_>) -> Lines {
    let step = report.step().name();
    // All that were asked for, one by one, or what was kept of the whole.
    let single = report.frames.is_some();
    let stride = match report.replayed.first() {
        Some(way) if !single => way.kept.series.stride,
        _ => 1,
    };
    type Pick = fn(&Counts) -> u64;
    let panel = |title: &str, at: usize, pick: Pick| Values {
        title: format!("{title} a {step}"),
        lines: (report.replayed.iter())
            .map(|way| Line {
                strategy: way.strategy.to_string(),
                name: format!("{} on {}", way.strategy, flavour(way)),
                detail: {
                    let values = values(way, single, at, pick);
                    let most = values.iter().copied().max().unwrap_or(0);
                    let sum = pick(&report.totals(way));
                    format!("{} in all, at most {}", thousands(sum), thousands(most))
                },
                values: values(way, single, at, pick),
            })
            .collect(),
    };
    let first = if single { report.range().start } else { 0 };
    let kept = report
        .replayed
        .first()
        .map_or(0, |way| way.kept.steps.len() as u64);
    let note = if stride > 1 {
        format!(
            "Each point is the {step} that asks the most, of {}.",
            thousands(stride)
        )
    } else if single && kept < report.range().end - first {
        format!(
            "The first {} {step}s of those that were asked for.",
            thousands(kept)
        )
    } else {
        "What each strategy asks of the kernel, the creation of resources included. Lower is better; where lines are \
         the same, their colours take turns."
            .to_owned()
    };
    Lines {
        title: format!("What sparse binds ask of the kernel, {step} by {step}"),
        subtitle: report.subject(),
        note,
        x_name: step.to_owned(),
        stride,
        first,
        panels: vec![
            panel("VM_BIND operations", 0, |counts| counts.vm_bind_ops),
            panel("VM_BIND ioctls", 1, |counts| counts.vm_bind_ioctls),
        ],
    }
}

fn values(way: &Replayed, single: bool, at: usize, pick: fn(&Counts) -> u64) -> Vec<u64> {
    if single {
        way.kept.steps.iter().map(pick).collect()
    } else {
        way.kept
            .series
            .points
            .iter()
            .map(|point| point[at])
            .collect()
    }
}

fn flavour(way: &Replayed) -> String {
    let kernel = way.kernel.to_string();
    kernel.trim_start_matches("vpanthor:").to_owned()
}

/// What is bound, over time.
pub fn residency(report: &Report<'_>) -> Heat {
    let step = report.step().name();
    let none = Residency::new();
    let residency = report
        .replayed
        .iter()
        .find_map(|way| way.residency.as_ref());
    let residency = residency.unwrap_or(&none);
    let band = |band: &Band, detail: String| HeatBand {
        name: band.name.clone(),
        detail,
        weight: (band.size as f64).sqrt(),
        first: band.first,
        shares: band.shares.clone(),
    };
    let mut bands: Vec<HeatBand> = (residency.bands.iter())
        .map(|of| {
            let rows = of.shares.first().map_or(1, Vec::len).max(1) as u64;
            let detail = match rows {
                1 => size(of.size),
                _ => format!("{} in {rows} ranges", size(of.size)),
            };
            band(of, detail)
        })
        .collect();
    if residency.other_count > 0 {
        let detail = format!("up to {} together", size(residency.others.size));
        bands.push(band(&residency.others, detail));
    }
    let moments = match residency.stride {
        1 => format!("as it is at the end of each {step}"),
        n => format!("as it is at the end of one {step} in {}", thousands(n)),
    };
    let peak = bands.iter().flat_map(|band| band.shares.iter().flatten());
    let note = if peak.copied().fold(0.0, f32::max) > 0.0 {
        format!(
            "Rows are ranges of addresses, the first on top; colours are the share of a range's bytes that is bound to memory, {moments}."
        )
    } else {
        "Nothing was bound at the end of any step.".to_owned()
    };
    Heat {
        title: "What is bound to memory, over time".to_owned(),
        subtitle: report.subject(),
        note,
        x_name: step.to_owned(),
        legend: "bytes bound,\nshare of range".to_owned(),
        stride: residency.stride,
        moments: residency.samples,
        bands,
    }
}

/// A size in its unit, with up to three digits.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    let digits = match value {
        v if unit == "B" || v >= 99.95 || v.fract() == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_a_unit_and_few_digits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(64 << 10), "64 KiB");
        assert_eq!(size(5_726_666_752), "5.33 GiB");
        assert_eq!(size(100_003_840), "95.4 MiB");
        assert_eq!(size(1 << 30), "1 GiB");
    }
}
