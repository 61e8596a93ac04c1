//! Results and gradients of the operations beside those that burn derives itself.

use burn::backend::{Autodiff, Flex};
use burn::tensor::activation::leaky_relu;
use burn::tensor::module::{conv_transpose1d, conv1d};
use burn::tensor::ops::PaddedConvOptions;
use burn::tensor::{Distribution, Tensor};

use super::*;

/// Numbers of a result and of the gradients of three inputs.
type Found = Vec<Vec<f32>>;

/// x, weight and bias with the shapes of the first two.
type Inputs = (Vec<f32>, [usize; 3], Vec<f32>, [usize; 3], Vec<f32>);

/// What `work` makes of three inputs, and the gradients of its product with a fixed tensor.
fn found<B: AutodiffBackend>(
    inputs: &Inputs,
    work: impl Fn(Tensor<B, 3>, Tensor<B, 3>, Tensor<B, 1>) -> Tensor<B, 3>,
) -> Found {
    let device = Default::default();
    let (x, x_shape, weight, weight_shape, bias) = inputs;
    let flat = |values: &Vec<f32>| Tensor::<B, 1>::from_floats(values.as_slice(), &device);
    let x = flat(x).reshape(*x_shape).require_grad();
    let weight = flat(weight).reshape(*weight_shape).require_grad();
    let bias = flat(bias).require_grad();
    let y = work(x.clone(), weight.clone(), bias.clone());
    let places = y.shape().num_elements();
    // Of a mean, so that sums over places do not cancel.
    let other: Vec<f32> = (0..places).map(|n| 0.5 + (n as f32 * 0.7).sin()).collect();
    let product = y.clone() * flat(&other).reshape(y.dims());
    let gradients = product.sum().backward();
    let numbers = |tensor: Option<Tensor<B::InnerBackend, 1>>| {
        tensor.map_or(Vec::new(), |tensor| tensor.into_data().to_vec().unwrap())
    };
    vec![
        y.into_data().to_vec().unwrap(),
        numbers(x.grad(&gradients).map(|g| g.flatten(0, 2))),
        numbers(weight.grad(&gradients).map(|g| g.flatten(0, 2))),
        numbers(bias.grad(&gradients)),
    ]
}

fn assert_alike(what: &str, found: &Found, expected: &Found) {
    for (part, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}: part {part}");
        let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() <= 1e-5 * largest,
                "{what}: part {part}: {found}, expected {expected}"
            );
        }
    }
}

/// Random inputs: x of these extents, a weight and a bias.
fn inputs(x: [usize; 3], weight: [usize; 3], bias: usize) -> Inputs {
    let mut random = crate::random::Random::new(5, 0);
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal()).collect() };
    (
        numbers(x.iter().product()),
        x,
        numbers(weight.iter().product()),
        weight,
        numbers(bias),
    )
}

fn gradients_are_those_burn_derives<B: TrainingBackend>() {
    // (stride, padding, dilation, groups), x and weight.
    let shapes = [
        (1, 2, 1, 1, [2, 4, 19], [6, 4, 5]),
        (1, 3, 3, 1, [2, 4, 19], [6, 4, 3]),
        (2, 2, 1, 2, [3, 4, 21], [6, 2, 5]),
        (3, 0, 1, 4, [1, 8, 20], [8, 2, 5]),
    ];
    for (stride, padding, dilation, groups, x, weight) in shapes {
        let options = ConvOptions::new([stride], [padding], [dilation], groups);
        let inputs = inputs(x, weight, weight[0]);
        let kept = found::<B>(&inputs, |x, weight, bias| {
            conv(x, weight, Some(bias), options.clone())
        });
        let derived = found::<Autodiff<Flex>>(&inputs, |x, weight, bias| {
            let options = PaddedConvOptions::from(options.clone());
            conv1d(x, weight, Some(bias), options)
        });
        assert_alike(&format!("{options:?}"), &kept, &derived);
    }
    let options = ConvTransposeOptions::new([3], [2], [0], [1], 1);
    let up = inputs([2, 4, 9], [4, 5, 7], 5);
    let kept = found::<B>(&up, |x, weight, bias| {
        upsample(x, weight, Some(bias), options.clone())
    });
    let derived = found::<Autodiff<Flex>>(&up, |x, weight, bias| {
        conv_transpose1d(x, weight, Some(bias), options.clone())
    });
    assert_alike("transposed", &kept, &derived);

    let weight = inputs([6, 3, 5], [6, 1, 1], 1);
    let kept = found::<B>(&weight, |direction, length, _| normed(direction, length));
    let derived = found::<Autodiff<Flex>>(&weight, |direction, length, _| {
        direction.clone() / norms(direction) * length
    });
    assert_alike("normed", &kept, &derived);
    // A convolution's weight: its gradient may come in another order.
    let (options, lengths) = (ConvOptions::new([1], [2], [1], 1), [6, 1, 1]);
    let weighed = inputs([2, 3, 20], [6, 3, 5], 6);
    let kept = found::<B>(&weighed, |x, direction, length| {
        conv(
            x,
            normed(direction, length.reshape(lengths)),
            None,
            options.clone(),
        )
    });
    let derived = found::<Autodiff<Flex>>(&weighed, |x, direction, length| {
        let weight = direction.clone() / norms(direction) * length.reshape(lengths);
        conv1d(x, weight, None, PaddedConvOptions::from(options.clone()))
    });
    assert_alike("normed weight", &kept, &derived);

    let x = inputs([2, 3, 40], [1, 1, 1], 1);
    let kept = found::<B>(&x, |x, _, _| leaky(x, 0.1));
    let derived = found::<Autodiff<Flex>>(&x, |x, _, _| leaky_relu(x, 0.1));
    assert_alike("leaky", &kept, &derived);
    // What a network does: a result is read twice, and a gradient comes from two sides and from one side only.
    let net = inputs([2, 4, 16], [4, 4, 3], 4);
    let options = ConvOptions::new([1], [1], [1], 1);
    let kept = found::<B>(&net, |x, weight, bias| {
        let y = leaky(
            conv(x.clone(), weight.clone(), Some(bias), options.clone()),
            0.1,
        );
        conv(y.clone(), weight, None, options.clone()) + y + x
    });
    let derived = found::<Autodiff<Flex>>(&net, |x, weight, bias| {
        let options = || PaddedConvOptions::from(options.clone());
        let y = conv1d(x.clone(), weight.clone(), Some(bias), options());
        let y = leaky_relu(y, 0.1);
        conv1d(y.clone(), weight, None, options()) + y + x
    });
    assert_alike("network", &kept, &derived);
}

#[test]
fn gradients_on_flex_are_those_burn_derives() {
    gradients_are_those_burn_derives::<Autodiff<Flex>>();
}

#[cfg(feature = "libtorch")]
#[test]
fn gradients_on_libtorch_are_those_burn_derives() {
    gradients_are_those_burn_derives::<Autodiff<burn::backend::LibTorch>>();
}

fn written_numbers_are_seen_by_their_tensor_alone<B: Kernels>() {
    let device = Default::default();
    let tensor = Tensor::<B, 2>::random([3, 4], Distribution::Default, &device);
    let shared = tensor.clone();
    let before: Vec<f32> = tensor.to_data().to_vec().unwrap();
    let mut bare = tensor.into_primitive().tensor();
    B::numbers_mut(&mut bare).unwrap().fill(7.0);
    assert_eq!(B::numbers(&bare).unwrap(), [7.0; 12]);
    assert_eq!(shared.to_data().to_vec::<f32>().unwrap(), before);
    let turned = shared.swap_dims(0, 1).into_primitive().tensor();
    assert!(B::numbers(&turned).is_none());
}

#[test]
fn written_numbers_are_seen_by_their_tensor_alone_on_flex() {
    written_numbers_are_seen_by_their_tensor_alone::<Flex>();
}

#[cfg(feature = "libtorch")]
#[test]
fn written_numbers_are_seen_by_their_tensor_alone_on_libtorch() {
    written_numbers_are_seen_by_their_tensor_alone::<burn::backend::LibTorch>();
}
