//! One training on several devices of a machine: each takes a batch of its own, and their gradients are averaged.
//!
//! Weights are the same everywhere at the first step and stay so, because every device takes the same averaged gradient.
//! burn's collective operations carry the gradients (feature `multi-gpu`); a step waits for the slowest device, and each
//! moves every gradient once to and once from its neighbours.

use anyhow::Result;
use burn::optim::GradientsParams;

use super::batch::BatchMaker;
use super::stepper::Stepper;
use crate::kernels::TrainingBackend;

/// Averages gradients with those of other devices.
pub type Share = Box<dyn Fn(GradientsParams) -> Result<GradientsParams> + Send>;

/// Has `stepper` and copies of it on further devices take the steps from `first` to `last` together. With one device it
/// does nothing.
///
/// # Errors
/// There are several devices and the program was built without `multi-gpu`, or they cannot be joined.
#[cfg(not(feature = "multi-gpu"))]
pub fn join<B: TrainingBackend>(
    _stepper: &mut Stepper<B>,
    _maker: &BatchMaker,
    devices: &[B::Device],
    _steps: std::ops::Range<u64>,
) -> Result<()> {
    anyhow::ensure!(
        devices.len() <= 1,
        "--devices {}: this program was built for one device; build it with --features multi-gpu",
        devices.len()
    );
    Ok(())
}

/// Has `stepper` and copies of it on further devices take the steps from `first` to `last` together. With one device it
/// does nothing.
///
/// # Errors
/// The devices cannot be joined.
#[cfg(feature = "multi-gpu")]
pub fn join<B: TrainingBackend>(
    stepper: &mut Stepper<B>,
    maker: &BatchMaker,
    devices: &[B::Device],
    steps: std::ops::Range<u64>,
) -> Result<()> {
    use super::batch::stream;
    use super::watch::Watch;
    use anyhow::bail;

    let count = devices.len();
    for (index, device) in devices.iter().enumerate().skip(1) {
        let mut peer = stepper.on(device);
        let batches = stream(maker.clone(), steps.start, (index as u64, count as u64));
        let (steps, device) = (steps.clone(), device.clone());
        std::thread::spawn(move || {
            let work = || -> Result<()> {
                peer.share_by(share::<B>(index, count, device)?);
                let mut watch = Watch::default();
                for step in steps {
                    let Ok(batch) = batches.recv() else {
                        bail!("the batch thread stopped")
                    };
                    peer.step(&batch?, step, &mut watch)?;
                }
                Ok(())
            };
            // The others would wait for this one for ever; every checkpoint that was begun is whole or not there.
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    eprintln!("error: device {index}: {error:#}");
                    std::process::exit(1);
                }
                Err(_) => std::process::exit(1),
            }
        });
    }
    if count > 1 {
        stepper.share_by(share::<B>(0, count, devices[0].clone())?);
    }
    Ok(())
}

/// Joins device `index` of `count`.
#[cfg(feature = "multi-gpu")]
fn share<B: TrainingBackend>(index: usize, count: usize, device: B::Device) -> Result<Share> {
    use anyhow::anyhow;
    use burn::collective::{CollectiveConfig, PeerId, ReduceOperation, register};

    let peer = PeerId::from(index);
    let config = CollectiveConfig::default().with_num_devices(count);
    register::<B::InnerBackend>(peer, device, config)
        .map_err(|error| anyhow!("device {index} of {count} cannot join: {error:?}"))?;
    Ok(Box::new(move |gradients: GradientsParams| {
        gradients
            .all_reduce::<B::InnerBackend>(peer, ReduceOperation::Mean)
            .map_err(|error| anyhow!("device {index} of {count} lost the others: {error:?}"))
    }))
}

#[cfg(all(test, feature = "multi-gpu"))]
mod tests {
    use burn::backend::{Autodiff, Flex};
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Tensor;

    use super::super::small;
    use super::*;
    use crate::vits::stepper::Base;
    use crate::vits::watch::Watch;

    type B = Autodiff<Flex>;
    type Parts = Vec<(&'static str, Vec<u8>)>;

    /// Everything that a device has after three steps with `share`, or alone.
    fn stepped(
        mut stepper: Stepper<B>,
        maker: &BatchMaker,
        place: (u64, u64),
        share: Option<Share>,
    ) -> Parts {
        if let Some(share) = share {
            stepper.share_by(share);
        }
        let mut watch = Watch::default();
        for step in 0..3 {
            let batch = maker.batch(step, place).unwrap();
            stepper
                .step(&batch, step, &mut watch)
                .unwrap()
                .expect("taken");
        }
        stepper.parts().unwrap()
    }

    /// One test: a process has one group of devices.
    #[test]
    fn devices_share_gradients_and_step_as_one() {
        let layer: Linear<B> = LinearConfig::new(2, 1).init(&Default::default());
        let config = small::config(1);
        let maker = small::maker(&config);
        let first = Stepper::<B>::new(&config, &Base::default(), &Default::default()).unwrap();
        let peers: Vec<_> = [[1.0f32, 2.0], [3.0, 6.0]]
            .into_iter()
            .enumerate()
            .map(|(index, input)| {
                let (layer, maker) = (layer.clone(), maker.clone());
                let stepper = first.on(&Default::default());
                std::thread::spawn(move || {
                    let share = share::<B>(index, 2, Default::default()).unwrap();
                    let input = Tensor::<B, 2>::from_data([input], &Default::default());
                    let loss = layer.forward(input).sum();
                    let gradients = GradientsParams::from_grads(loss.backward(), &layer);
                    let gradients = share(gradients).unwrap();
                    let weight = gradients.get::<Flex, 2>(layer.weight.id).unwrap();
                    let weight = weight.into_data().to_vec::<f32>().unwrap();
                    let place = (index as u64, 2);
                    (weight, stepped(stepper, &maker, place, Some(share)))
                })
            })
            .collect();
        let found: Vec<_> = peers.into_iter().map(|peer| peer.join().unwrap()).collect();
        for (weight, parts) in &found {
            assert_eq!(*weight, [2.0, 4.0], "the mean of both");
            // The state of an optimiser is written in no order.
            let weights = |part: &&(&str, Vec<u8>)| !part.0.contains("optimizer");
            for (own, others) in parts
                .iter()
                .zip(&found[0].1)
                .filter(|(own, _)| weights(own))
            {
                assert!(own == others, "{} differs between devices", own.0);
            }
        }
        let alone = stepped(first, &maker, (0, 1), None);
        assert!(alone[1] != found[0].1[1], "the other's batches count");
    }
}
