//! Which nodes tap where: what the sources' names say, of those that a lane hears.

use std::collections::BTreeMap;
use std::sync::Arc;

use bus::{Place, Timeline, place};

use super::Taps;

/// Nodes of both timelines, which have nothing to do with each other.
#[derive(Debug, Default)]
pub struct Sites {
    nodes: BTreeMap<(Timeline, String), Place>,
    taps: BTreeMap<Timeline, Taps>,
    none: Taps,
}

impl Sites {
    /// Of these sources.
    pub fn of<'a>(sources: impl Iterator<Item = &'a (Timeline, String)>) -> Sites {
        let mut sites = Sites::default();
        for (timeline, source) in sources {
            let place = Place::of(source);
            let taps = sites.taps.entry(*timeline).or_default();
            taps.entry(place.site.clone()).or_default().insert(place.tap.clone());
            let node = place::node_of(source).to_owned();
            sites.nodes.insert((*timeline, node), place);
        }
        sites
    }

    /// The taps of each site.
    pub fn taps(&self, timeline: Timeline) -> &Taps {
        self.taps.get(&timeline).unwrap_or(&self.none)
    }

    /// Site and tap of a node; one that was not heard of stands alone.
    pub fn place(&self, timeline: Timeline, node: &str) -> (String, Arc<str>) {
        match self.nodes.get(&(timeline, node.to_owned())) {
            Some(place) => (place.site.clone(), place.tap.as_str().into()),
            None => (String::new(), node.into()),
        }
    }

    /// How many taps a site has.
    pub fn count(&self, timeline: Timeline, site: &str) -> usize {
        self.taps(timeline).get(site).map_or(0, |taps| taps.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_by_site_and_timeline() {
        let sources = ["a/1", "b/1#lab/north", "c/1#lab/north", "d/1#lab/d"];
        let sources: Vec<_> = sources.iter().map(|s| (Timeline::Live, (*s).to_owned())).collect();
        let sites = Sites::of(sources.iter());
        let count = |site| sites.count(Timeline::Live, site);
        assert_eq!((count(""), count("lab"), count("x")), (1, 2, 0));
        assert_eq!(sites.count(Timeline::File, ""), 0);
        assert_eq!(sites.place(Timeline::Live, "c"), ("lab".to_owned(), "north".into()));
        assert_eq!(sites.place(Timeline::Live, "x"), (String::new(), "x".into()));
    }
}
