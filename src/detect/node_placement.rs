//! The execution providers that compute the nodes of a model, and whether they are the one that was asked for.

use std::collections::BTreeMap;
use std::fmt;

use crate::telemetry::detect::NodesElsewhere;

/// The end of the names of execution providers.
const PROVIDER: &str = "ExecutionProvider";

/// The number of a model's nodes by execution provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlacement {
    /// The short name of the provider that was asked for: `cuda`, `cpu`, `openvino`.
    wanted: String,
    /// By short name.
    nodes: BTreeMap<String, usize>,
}

impl NodePlacement {
    /// Returns the placement of nodes that are counted by the full names of providers; `wanted` is such a name.
    pub(super) fn new(wanted: &str, nodes: BTreeMap<String, usize>) -> Self {
        let mut by_name = BTreeMap::new();
        for (provider, count) in nodes {
            *by_name.entry(short(&provider)).or_default() += count;
        }
        Self { wanted: short(wanted), nodes: by_name }
    }

    /// Returns the number of all nodes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.nodes.values().sum()
    }

    /// Returns the number of nodes on the provider that was asked for.
    #[must_use]
    pub fn as_wanted(&self) -> usize {
        self.nodes.get(&self.wanted).copied().unwrap_or_default()
    }

    /// Returns the number of nodes on other providers.
    #[must_use]
    pub fn elsewhere(&self) -> usize {
        self.total() - self.as_wanted()
    }

    /// Returns the number of nodes of each provider, by its short name.
    pub(crate) fn by_provider(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().map(|(provider, count)| (provider.as_str(), *count))
    }

    /// Logs nodes of a model that was loaded if they are on other providers.
    pub(super) fn report(&self, model: &str) {
        if self.elsewhere() > 0 {
            NodesElsewhere { model, nodes: self }.emit();
        }
    }
}

/// Writes `cuda 101 of 101 nodes`, or `cuda 98 of 101 nodes, cpu 3`.
impl fmt::Display for NodePlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {} nodes", self.wanted, self.as_wanted(), self.total())?;
        let others = self.nodes.iter().filter(|(provider, _)| **provider != self.wanted);
        others.into_iter().try_for_each(|(provider, count)| write!(f, ", {provider} {count}"))
    }
}

/// Returns `cuda` for `CUDAExecutionProvider`.
fn short(provider: &str) -> String {
    provider.strip_suffix(PROVIDER).unwrap_or(provider).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wanted provider, the nodes by provider, the text, and the number of nodes elsewhere.
    type PlacementCase<'a> = (&'a str, &'a [(&'a str, usize)], &'a str, usize);

    #[test]
    fn nodes_are_counted_by_provider() {
        let (cuda, cpu, openvino) =
            ("CUDAExecutionProvider", "CPUExecutionProvider", "OpenVINOExecutionProvider");
        let table: [PlacementCase<'_>; 5] = [
            (cuda, &[(cuda, 101)], "cuda 101 of 101 nodes", 0),
            (cuda, &[(cuda, 98), (cpu, 3)], "cuda 98 of 101 nodes, cpu 3", 3),
            (cuda, &[(cpu, 101)], "cuda 0 of 101 nodes, cpu 101", 101),
            (cpu, &[(cpu, 7)], "cpu 7 of 7 nodes", 0),
            (openvino, &[(cpu, 1), (openvino, 6)], "openvino 6 of 7 nodes, cpu 1", 1),
        ];
        for (wanted, nodes, text, elsewhere) in table {
            let nodes = nodes.iter().map(|(provider, count)| ((*provider).to_owned(), *count)).collect();
            let placement = NodePlacement::new(wanted, nodes);
            assert_eq!((placement.to_string().as_str(), placement.elsewhere()), (text, elsewhere));
        }
    }
}
