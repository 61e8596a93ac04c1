//! The first weights of a training: random, or those of an imported base where they fit.

use crate::import::StateDict;
use crate::import::weights::CheckpointWeights;
use crate::model::vits::weights::{RandomStart, Start, WeightError, WeightSource};
use crate::random::Random;

/// What a base gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Tensors that were taken.
    pub taken: usize,
    /// Names of tensors the base does not have.
    pub missing: Vec<String>,
    /// Names, expected and found shapes of tensors of another shape.
    pub mismatched: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Taken {
    /// What to tell: one line, and one for each tensor of another shape.
    #[must_use]
    pub fn lines(&self, base: &str) -> Vec<String> {
        let mut lines = vec![format!(
            "{base}: {} tensors taken, {} of another shape, {} not there; the rest starts at random",
            self.taken,
            self.mismatched.len(),
            self.missing.len()
        )];
        for (name, expected, found) in &self.mismatched {
            lines.push(format!("  {name}: expected {expected:?}, found {found:?}"));
        }
        for name in &self.missing {
            lines.push(format!("  {name}: not there"));
        }
        lines
    }
}

/// Weights of a base where name and shape fit, random ones elsewhere.
#[derive(Debug)]
pub struct WarmStart<'a> {
    base: &'a StateDict,
    random: RandomStart,
    /// What was taken so far.
    pub taken: Taken,
}

impl<'a> WarmStart<'a> {
    /// From `base`; what is not there is drawn from `seed`.
    #[must_use]
    pub fn new(base: &'a StateDict, seed: u64) -> Self {
        Self {
            base,
            random: RandomStart(Random::new(seed, 0)),
            taken: Taken::default(),
        }
    }
}

impl WeightSource for WarmStart<'_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        start: Start,
    ) -> Result<Vec<f32>, WeightError> {
        match self.base.get(name).map(|tensor| tensor.shape().to_vec()) {
            Some(found) if found == shape => {
                self.taken.taken += 1;
                CheckpointWeights(self.base).tensor(name, shape, start)
            }
            Some(found) => {
                let mismatch = (name.to_owned(), shape.to_vec(), found);
                self.taken.mismatched.push(mismatch);
                self.random.tensor(name, shape, start)
            }
            None => {
                self.taken.missing.push(name.to_owned());
                self.random.tensor(name, shape, start)
            }
        }
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.base.get(name).map(|tensor| tensor.shape().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use burn::backend::Flex;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::import::safetensors_file::SafetensorsFile;
    use crate::vits::config::{CriticSpec, Size, VoiceShape, spec};
    use crate::vits::critics::Critics;
    use crate::vits::network::VitsNetwork;

    type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

    /// Keeps what it gives, as a checkpoint would have it.
    struct Kept(RandomStart, Tensors);

    impl WeightSource for Kept {
        fn tensor(
            &mut self,
            name: &str,
            shape: &[usize],
            start: Start,
        ) -> Result<Vec<f32>, WeightError> {
            let values = self.0.tensor(name, shape, start)?;
            let kept = (shape.to_vec(), values.clone());
            self.1.insert(name.to_owned(), kept);
            Ok(values)
        }

        fn shape(&self, _name: &str) -> Option<Vec<usize>> {
            None
        }
    }

    fn kept(seed: u64) -> Kept {
        Kept(RandomStart(Random::new(seed, 0)), Tensors::new())
    }

    fn state_dict(name: &str, tensors: &Tensors) -> StateDict {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
            .iter()
            .map(|(name, (shape, values))| {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                (name, shape, bytes.collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, (*shape).clone(), bytes);
            (*name, view.unwrap())
        });
        let file = format!("timbra-{name}-{}.safetensors", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let tensors = SafetensorsFile::open(&path).unwrap().state_dict().unwrap();
        std::fs::remove_file(&path).unwrap();
        tensors
    }

    /// What a source gives each tensor of a load that asks for what `wanted` has.
    fn given(source: &mut WarmStart<'_>, wanted: &Tensors) -> Tensors {
        wanted
            .iter()
            .map(|(name, (shape, _))| {
                let values = source.tensor(name, shape, Start::Normal(1.0)).unwrap();
                (name.clone(), (shape.clone(), values))
            })
            .collect()
    }

    #[test]
    fn what_fits_is_taken_and_what_does_not_is_named() {
        let device = Default::default();
        let spec = |speakers| {
            let shape = VoiceShape {
                content_channels: 12,
                speakers,
                rate_hz: 16_000,
                loudness: false,
                auto_f0: true,
            };
            spec(Size::Tiny, shape).unwrap()
        };
        // A base of three speakers, of which one tensor is lost.
        let mut base = kept(1);
        VitsNetwork::<Flex>::load(&mut base, &spec(3), &device).unwrap();
        let lost = "pre.bias";
        base.1.remove(lost).expect("it is there");
        let base = state_dict("start", &base.1);

        let mut wanted = kept(2);
        VitsNetwork::<Flex>::load(&mut wanted, &spec(2), &device).unwrap();
        let mut source = WarmStart::new(&base, 5);
        VitsNetwork::<Flex>::load(&mut source, &spec(2), &device).unwrap();
        let taken = source.taken.clone();
        assert_eq!(taken.taken, wanted.1.len() - 2);
        assert_eq!(taken.missing, [lost]);
        let [(name, expected, found)] = &taken.mismatched[..] else {
            panic!("{:?}", taken.mismatched)
        };
        let told = taken.lines("G_0.pth").join("\n");
        let (expected, found) = (format!("{expected:?}"), format!("{found:?}"));
        for word in [
            "G_0.pth",
            "1 of another shape",
            "1 not there",
            name,
            lost,
            &expected,
            &found,
        ] {
            assert!(told.contains(word), "{word} in: {told}");
        }

        // What was taken are the base's numbers; the rest is drawn.
        let mut source = WarmStart::new(&base, 5);
        for (tensor, (_, values)) in given(&mut source, &wanted.1) {
            if tensor != *lost && tensor != *name {
                let own = base.get(&tensor).unwrap().to_f32().unwrap();
                assert!(own == values, "{tensor} is not the base's");
            }
        }
    }

    #[test]
    fn critics_begin_with_those_of_a_base() {
        let device = Default::default();
        let critics = CriticSpec {
            periods: vec![2, 3],
            most_channels: 16,
        };
        let mut base = kept(1);
        Critics::<Flex>::load(&mut base, &critics, &device).unwrap();
        let tensors = state_dict("critics", &base.1);
        let mut source = WarmStart::new(&tensors, 5);
        Critics::<Flex>::load(&mut source, &critics, &device).unwrap();
        let all = Taken {
            taken: base.1.len(),
            ..Taken::default()
        };
        assert_eq!(source.taken, all);
    }
}
