//! Which kernels, and which way to map unbound ranges on each.

use hosted::HostedError;
use hosted::config::NullChoice;
use panvk_sparse::lower::Strategy;
use replay::{Replay, Way};
use vpanthor::Flavour;
use vpanthor::KernelSpec;

/// The kernels in the field, each with the way that a driver takes there; the slow reference first.
pub const FIELD: [(Flavour, Strategy); 4] = [
    (Flavour::V1_5, Strategy::Page),
    (Flavour::V1_5, Strategy::Chunk),
    (Flavour::V1_8Repeat, Strategy::Repeat),
    (Flavour::V1_9, Strategy::Sparse),
];

/// Every kernel with every strategy that was asked for. With kernels alone, the best that each can; with strategies
/// alone, each on the kernel of [`FIELD`]; with nothing, all of [`FIELD`].
///
/// The error names a pair that can't be.
pub fn choose(kernels: &[KernelSpec], strategies: &[NullChoice]) -> Result<Vec<Way>, String> {
    let field = |&(flavour, strategy): &(Flavour, Strategy)| Way {
        kernel: KernelSpec::Vpanthor(flavour),
        choice: NullChoice::Fixed(strategy),
    };
    let way = |kernel: &KernelSpec, &choice: &NullChoice| Way {
        kernel: kernel.clone(),
        choice,
    };
    let ways: Vec<Way> = match (kernels, strategies) {
        ([], []) => FIELD.iter().map(field).collect(),
        (kernels, []) => {
            let best = |kernel| way(kernel, &NullChoice::Auto);
            kernels.iter().map(best).collect()
        }
        ([], strategies) => {
            let on_field = |choice: &NullChoice| match choice {
                NullChoice::Auto => way(&KernelSpec::default(), choice),
                NullChoice::Fixed(wanted) => FIELD
                    .iter()
                    .find(|(_, strategy)| strategy == wanted)
                    .map_or_else(|| way(&KernelSpec::default(), choice), field),
            };
            strategies.iter().map(on_field).collect()
        }
        (kernels, strategies) => kernels
            .iter()
            .flat_map(|kernel| strategies.iter().map(|choice| way(kernel, choice)))
            .collect(),
    };
    for way in &ways {
        if !matches!(way.kernel, KernelSpec::Vpanthor(_)) {
            return Err(format!(
                "--kernel {}: a recording is replayed on virtual kernels only, vpanthor:<flavour>",
                way.kernel
            ));
        }
        if let Err(error @ HostedError::NoStrategy(_)) = Replay::new(&way.kernel, way.choice) {
            let choice = match way.choice {
                NullChoice::Auto => "auto",
                NullChoice::Fixed(strategy) => strategy.name(),
            };
            return Err(format!(
                "--kernel {} --strategy {choice}: {error}",
                way.kernel
            ));
        }
    }
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kernels: &[&str], strategies: &[&str]) -> Result<Vec<String>, String> {
        let kernels: Vec<_> = kernels
            .iter()
            .map(|k| k.parse().expect("a kernel"))
            .collect();
        let strategies: Vec<_> = strategies.iter().map(|s| s.parse().expect("one")).collect();
        let name = |way: Way| match way.choice {
            NullChoice::Auto => format!("{} auto", way.kernel),
            NullChoice::Fixed(strategy) => format!("{} {strategy}", way.kernel),
        };
        Ok(choose(&kernels, &strategies)?
            .into_iter()
            .map(name)
            .collect())
    }

    #[test]
    fn what_is_not_said_is_chosen() {
        assert_eq!(names(&[], &[]).unwrap().len(), 4);
        assert_eq!(
            names(&["vpanthor:1.9"], &[]).unwrap(),
            ["vpanthor:1.9 auto"]
        );
        assert_eq!(
            names(&[], &["repeat"]).unwrap(),
            ["vpanthor:1.8-repeat repeat"]
        );
        assert_eq!(
            names(&["vpanthor:1.5", "vpanthor:1.8"], &["page", "chunk"]).unwrap(),
            [
                "vpanthor:1.5 page",
                "vpanthor:1.5 chunk",
                "vpanthor:1.8 page",
                "vpanthor:1.8 chunk"
            ]
        );
    }

    #[test]
    fn a_pair_that_cannot_be_is_named() {
        let error = names(&["vpanthor:1.5"], &["chunk", "sparse"]).unwrap_err();
        assert!(
            error.contains("--kernel vpanthor:1.5 --strategy sparse"),
            "{error}"
        );
        let error = names(&["/dev/dri/renderD128"], &[]).unwrap_err();
        assert!(
            error.contains("/dev/dri/renderD128") && error.contains("vpanthor:"),
            "{error}"
        );
    }
}
