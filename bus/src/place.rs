//! Where a node taps the network: what decides whether two of them can have seen the same flow.

/// A site and a tap in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Networks that have nothing to do with each other have different ones; empty where all are one.
    pub site: String,
    /// Nodes behind one tap share its packets and never see the same one; its own name where a node is alone.
    pub tap: String,
}

/// What stands between a source and its place; neither name may hold it.
const MARK: char = '#';
/// What stands between node and input, and between site and tap.
const BETWEEN: char = '/';

impl Place {
    /// Of a node of which nothing else is said.
    pub fn of_node(node: &str) -> Place {
        Place { site: String::new(), tap: node.to_owned() }
    }

    /// Whether this can be the name of a site or a tap.
    pub fn is_name(name: &str) -> bool {
        !name.is_empty() && !name.contains([MARK, BETWEEN])
    }

    /// A source's name in stamps, which tells of its place where that does not follow from the node:
    /// `w1/eth0#site/tap`.
    pub fn source(&self, source: &str) -> String {
        if *self == Place::of_node(node_of(source)) {
            return source.to_owned();
        }
        format!("{source}{MARK}{}{BETWEEN}{}", self.site, self.tap)
    }

    /// The place that a source's name tells of.
    pub fn of(source: &str) -> Place {
        let marked = source.rsplit_once(MARK).and_then(|(_, place)| place.split_once(BETWEEN));
        match marked {
            Some((site, tap)) => Place { site: site.to_owned(), tap: tap.to_owned() },
            None => Place::of_node(node_of(source)),
        }
    }
}

/// The node of a source.
pub fn node_of(source: &str) -> &str {
    let source = source.rsplit_once(MARK).map_or(source, |(source, _)| source);
    source.rsplit_once(BETWEEN).map_or(source, |(node, _)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_tells_of_its_place() {
        for (site, tap, want) in [
            ("", "w1", "w1/eth0"),
            ("", "north", "w1/eth0#/north"),
            ("lab", "w1", "w1/eth0#lab/w1"),
        ] {
            let place = Place { site: site.into(), tap: tap.into() };
            let name = place.source("w1/eth0");
            assert_eq!((&*name, node_of(&name)), (want, "w1"));
            assert_eq!(Place::of(&name), place);
        }
        assert!(Place::is_name("lab 1") && !Place::is_name("a/b") && !Place::is_name(""));
    }
}
