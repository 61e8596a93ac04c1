//! HuBERT checkpoints by their different names: fairseq's and Hugging Face's.

use super::StateDict;
use crate::model::hubert::HubertSpec;

/// Hugging Face's pieces of names and fairseq's, in the order in which they are replaced.
const NAMES: [(&str, &str); 10] = [
    (
        "feature_extractor.conv_layers.0.layer_norm.",
        "feature_extractor.conv_layers.0.2.",
    ),
    ("encoder.pos_conv_embed.conv.", "encoder.pos_conv.0."),
    (".conv.weight", ".0.weight"),
    ("feature_projection.layer_norm.", "layer_norm."),
    ("feature_projection.projection.", "post_extract_proj."),
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
    (".attention.", ".self_attn."),
    (".feed_forward.intermediate_dense.", ".fc1."),
    (".feed_forward.output_dense.", ".fc2."),
];
/// What other programs put before every name.
const PREFIXES: [&str; 3] = ["hubert.", "model.", "w2v_model."];

/// The tensors under fairseq's names; `None` when this is no HuBERT.
#[must_use]
pub fn fairseq(weights: &StateDict) -> Option<StateDict> {
    let named: StateDict = weights
        .iter()
        .map(|(name, tensor)| (fairseq_name(name), tensor.clone()))
        .collect();
    let is_hubert = named.contains_key("post_extract_proj.weight")
        && named.contains_key("encoder.pos_conv.0.weight_v")
        && named.contains_key("encoder.layers.0.self_attn.k_proj.weight");
    is_hubert.then_some(named)
}

fn fairseq_name(name: &str) -> String {
    let mut name = name.to_owned();
    for prefix in PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            name = rest.to_owned();
        }
    }
    for (theirs, ours) in NAMES {
        name = name.replace(theirs, ours);
    }
    if name.starts_with("encoder.layers.") {
        name = name.replace(".layer_norm.", ".self_attn_layer_norm.");
    }
    name
}

/// The sizes of an encoder whose tensors have fairseq's names; what is missing or unlike HuBERT base when they do not
/// fit.
///
/// # Errors
/// A tensor is missing, or it is another kind of network.
pub fn sizes(weights: &StateDict) -> Result<HubertSpec, String> {
    let shape = |name: &str| {
        weights
            .get(name)
            .map(|tensor| tensor.shape().to_vec())
            .ok_or_else(|| format!("no tensor \"{name}\""))
    };
    let of_wavlm = [
        "grep_",
        "relative_attention_bias",
        "gru_rel_pos",
        "rel_attn_embed",
    ];
    if let Some(name) = weights
        .keys()
        .find(|name| of_wavlm.iter().any(|part| name.contains(part)))
    {
        return Err(format!(
            "the tensor \"{name}\": it is a WavLM, whose attention also looks at distances, and that is not read yet"
        ));
    }
    if weights
        .keys()
        .any(|name| name.starts_with("feature_extractor.conv_layers.1.2"))
    {
        return Err(
            "every convolution is normalised, as in HuBERT large, which is not read yet".to_owned(),
        );
    }
    let front = shape("feature_extractor.conv_layers.0.0.weight")?;
    let entry = shape("post_extract_proj.weight")?;
    let position = shape("encoder.pos_conv.0.weight_v")?;
    let widen = shape("encoder.layers.0.fc1.weight")?;
    let (&[front_channels, 1, 10], &[channels, _], &[_, per_group, position_taps], &[filter, _]) =
        (&front[..], &entry[..], &position[..], &widen[..])
    else {
        return Err(format!(
            "extents {front:?}, {entry:?}, {position:?}, {widen:?} are not those of a HuBERT"
        ));
    };
    let layers = (0..)
        .take_while(|n| weights.contains_key(&format!("encoder.layers.{n}.fc1.weight")))
        .count();
    let sane = channels % 64 == 0
        && (64..=4096).contains(&channels)
        && (1..=64).contains(&layers)
        && (2..=512).contains(&position_taps)
        && position_taps % 2 == 0
        && per_group > 0
        && channels % per_group == 0;
    if !sane {
        return Err(format!(
            "{channels} channels, {layers} layers, {position_taps} position taps of {per_group} are not those of a HuBERT"
        ));
    }
    let projection = match weights
        .get("final_proj.weight")
        .map(|tensor| tensor.shape())
    {
        Some(&[outputs, inputs]) if inputs == channels => Some(outputs),
        _ => None,
    };
    Ok(HubertSpec {
        front_channels,
        channels,
        filter,
        heads: channels / 64,
        layers,
        position_taps,
        position_groups: channels / per_group,
        projection,
    })
}
