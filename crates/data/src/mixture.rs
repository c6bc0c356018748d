//! Several data sets as one endless, shuffled stream.

use crate::shuffle::shuffled;
use crate::{At, Augment, Dataset, Error, Example, Result};
use sensorium_kernels::rng::Rng;

/// The stream of random numbers that say which set an example comes from.
const MIX: u64 = 0x601;

/// Data sets, each with its share. The stream is asked by index alone, from 0 on and without end:
/// which set example `index` comes from is a random choice by `(seed, index)`. An endless set is asked
/// for its own example `index`; a finite one is shuffled anew each time the index has run through its
/// length. On its own, it so gives each example once an epoch; beside others, about its share as often.
pub struct Mixture {
    seed: u64,
    members: Vec<Member>,
    /// How pictures are changed, and how large the model reads them.
    augment: Option<(Augment, u32)>,
}

struct Member {
    dataset: Box<dyn Dataset>,
    /// The sum of the shares up to this set's own, of a whole of 1.
    until: f32,
}

impl Mixture {
    /// Data sets with their shares, which count as they are to each other.
    ///
    /// # Errors
    /// No data set, or a share that is not a number above 0.
    pub fn new(seed: u64, datasets: Vec<(Box<dyn Dataset>, f32)>) -> Result<Self> {
        let config = |expected, got| Err(Error::Config { key: "share", expected, got });
        if datasets.is_empty() {
            return config("at least one data set", "none".into());
        }
        let bad = |share: f32| !(share > 0.0 && share.is_finite());
        if let Some((dataset, share)) = datasets.iter().find(|(_, share)| bad(*share)) {
            return config("a number above 0", format!("{share} for {}", dataset.name()));
        }
        let whole: f32 = datasets.iter().map(|(_, share)| share).sum();
        let mut sum = 0.0;
        let member = |(dataset, share)| {
            sum += share;
            Member { dataset, until: sum / whole }
        };
        Ok(Self { seed, members: datasets.into_iter().map(member).collect(), augment: None })
    }

    /// With pictures from files changed at random, by the number of their example in the stream, for a model
    /// that reads them with `side` pixels.
    pub fn augmented(self, augment: Augment, side: u32) -> Self {
        Self { augment: Some((augment, side)), ..self }
    }

    /// How many examples all sets hold together; nothing where one has no end.
    pub fn examples(&self) -> Option<u64> {
        self.members.iter().map(|member| member.dataset.len()).sum()
    }

    /// Looks at the first example of each set: `lacks` names what a recipe needs and it has not.
    /// Examples that cannot be read are left to the loader.
    ///
    /// # Errors
    /// A set that lacks something, by name.
    pub fn check(&self, lacks: impl Fn(&Example) -> Option<&'static str>) -> Result<()> {
        for Member { dataset, .. } in &self.members {
            let first = dataset.example(At { epoch: 0, index: 0, progress: 0.0 });
            if let Some(lacks) = first.ok().as_ref().and_then(&lacks) {
                return Err(Error::Lacks { dataset: dataset.name().to_owned(), lacks });
            }
        }
        Ok(())
    }

    fn member(&self, index: u64) -> &dyn Dataset {
        let at = Rng::at(self.seed, MIX, index).f32();
        // Rounding may leave the last sum just below 1.
        let last = self.members.len() - 1;
        let member = self.members[..last].iter().position(|member| at < member.until);
        &*self.members[member.unwrap_or(last)].dataset
    }
}

impl Dataset for Mixture {
    fn name(&self) -> &str {
        match &self.members[..] {
            [only] => only.dataset.name(),
            _ => "mixture",
        }
    }

    /// The length of the only set: so many examples from 0 on are all it has.
    fn len(&self) -> Option<u64> {
        match &self.members[..] {
            [only] => only.dataset.len(),
            _ => None,
        }
    }

    fn example(&self, at: At) -> Result<Example> {
        let dataset = self.member(at.index);
        let Some(len) = dataset.len() else { return dataset.example(at) };
        let epoch = at.index / len;
        let index = shuffled(self.seed, epoch, at.index % len, len);
        let mut example = dataset.example(At { epoch, index, ..at })?;
        // What is known of where things are in a drawn scene stays true.
        if let Some((augment, side)) = self.augment.as_ref().filter(|_| example.facts.is_none()) {
            example.media = augment.apply(example.media, self.seed, at.index, *side);
        }
        Ok(example)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Examples whose group is their index, and whose text the set's name.
    struct Numbers(&'static str, Option<u64>);

    impl Dataset for Numbers {
        fn name(&self) -> &str {
            self.0
        }

        fn len(&self) -> Option<u64> {
            self.1
        }

        fn example(&self, at: At) -> Result<Example> {
            Ok(Example { group: at.index, text: Some(self.0.into()), ..Example::default() })
        }
    }

    fn at(index: u64) -> At {
        At { epoch: 0, index, progress: 0.0 }
    }

    fn mixture(seed: u64, parts: &[(&'static str, Option<u64>, f32)]) -> Mixture {
        let boxed = |&(name, len, share): &(_, _, f32)| {
            (Box::new(Numbers(name, len)) as Box<dyn Dataset>, share)
        };
        Mixture::new(seed, parts.iter().map(boxed).collect()).expect("shares are good")
    }

    proptest! {
        #[test]
        fn shares_are_kept(seed: u64, first in 0.05f32..0.95) {
            let mixture = mixture(seed, &[("a", Some(7), first), ("b", None, 1.0 - first)]);
            let text = |i| mixture.example(at(i)).ok().and_then(|example| example.text);
            let firsts = (0..4_000).filter(|&i| text(i).as_deref() == Some("a")).count();
            prop_assert!((firsts as f32 / 4_000.0 - first).abs() < 0.05, "{firsts}");
        }

        #[test]
        fn a_set_alone_gives_each_example_once_an_epoch(seed: u64, len in 1u64..200, epoch in 0u64..5) {
            let mixture = mixture(seed, &[("a", Some(len), 3.0)]);
            let index = |i| mixture.example(at(epoch * len + i)).map(|example| example.group);
            let mut all: Vec<u64> = (0..len).filter_map(|i| index(i).ok()).collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..len));
        }
    }

    #[test]
    fn shares_are_checked() {
        assert!(Mixture::new(1, vec![]).is_err());
        for share in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let numbers: Box<dyn Dataset> = Box::new(Numbers("a", None));
            let error = Mixture::new(1, vec![(numbers, share)]).err().map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains("hint:") && e.contains("for a")), "{share}");
        }
    }

    #[test]
    fn what_a_set_lacks_is_named() {
        let mixture = mixture(1, &[("a", None, 1.0), ("b", None, 1.0)]);
        assert!(mixture.check(|_| None).is_ok());
        let lacks = |e: &Example| (e.text.as_deref() == Some("b")).then_some("facts");
        let error = mixture.check(lacks).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("facts") && error.contains(" b"), "{error}");
    }
}
