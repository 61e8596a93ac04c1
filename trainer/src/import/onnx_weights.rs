//! The weights in an ONNX export of a voice, under the names they had in training.
//!
//! Exporters keep the names of biases, embeddings and normalisations. Weights that they computed (weight normalisation
//! folded, linear maps transposed) have none; these are found by the node that uses them: by the bias beside them, or by
//! the modules in the node's name (`/dec/conv_post/Conv`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::ReadError;
use super::onnx_file::{Node, OnnxFile};
use super::state_dict::{StateDict, check_growth};
use super::tensor::LazyTensor;

/// A bias that every voice has and no other network, which shows what stands before the names.
const LANDMARK: &str = "enc_p.proj.bias";
/// Names of inputs that an error lists.
const MAX_LISTED: usize = 8;

/// Weights, and what only the graph says of the layers they belong to.
#[derive(Debug, Default)]
pub struct OnnxWeights {
    /// The weights.
    pub weights: StateDict,
    /// Samples from one output to the next (of a transposed convolution: out per sample in), by layer.
    pub strides: BTreeMap<String, usize>,
    /// Samples between taps, by layer.
    pub dilations: BTreeMap<String, usize>,
}

/// The weights of the voice in a file.
///
/// # Errors
/// [`ReadError::NotRecognised`] where it holds another network, [`ReadError::TooLarge`] where it names the same numbers
/// too often.
pub fn weights(file: &OnnxFile) -> Result<OnnxWeights, ReadError> {
    let mut graph = Graph::new(file)?;
    let mut late = Vec::new();
    for node in &file.nodes {
        if let Some(layer) = graph.layer(node) {
            match layer.names() {
                [Some(name), None] | [None, Some(name)] => graph.put(&name, &layer, node),
                [Some(bias), Some(scope)] if bias == scope => graph.put(&bias, &layer, node),
                [Some(_), Some(_)] => late.push((layer, node)),
                [None, None] => {}
            }
        } else {
            graph.normalisation(node);
        }
    }
    // Exporters merge biases that are equal (then the modules are right), and networks share layers (then the bias is):
    // whichever is still without a weight has this one.
    for (layer, node) in late {
        for name in layer.names().into_iter().flatten() {
            graph.put(&name, &layer, node);
        }
    }
    graph.last_convolution(file);
    graph.speakers(file);
    graph.shared_flow();
    check_growth(file.source(), std::mem::take(&mut graph.found.weights)).map(|weights| {
        OnnxWeights {
            weights,
            ..graph.found
        }
    })
}

/// A convolution or linear map.
struct Layer {
    /// Nothing where the graph computes it, from a direction and a length that have names.
    weight: Option<LazyTensor>,
    bias: Option<LazyTensor>,
    /// Its name by its bias, and by the modules its node stands in.
    by_bias: Option<String>,
    by_scope: Option<String>,
}

impl Layer {
    fn names(&self) -> [Option<String>; 2] {
        [self.by_bias.clone(), self.by_scope.clone()]
    }
}

struct Graph<'a> {
    /// Constants, and what is only another view of one.
    values: HashMap<&'a str, LazyTensor>,
    /// Where a result goes, for additions.
    additions: HashMap<&'a str, &'a Node>,
    /// What stands before every name: `model.` or nothing.
    prefix: String,
    /// Whether only one coupling of the flow has names inside.
    flow_is_named_once: bool,
    found: OnnxWeights,
}

impl<'a> Graph<'a> {
    fn new(file: &'a OnnxFile) -> Result<Self, ReadError> {
        let prefix = file
            .constants
            .keys()
            .find_map(|name| name.strip_suffix(LANDMARK))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        let Some(prefix) = prefix else {
            return Err(foreign(file));
        };
        let mut found = OnnxWeights::default();
        let mut values = HashMap::new();
        for (name, tensor) in &file.constants {
            values.insert(name.as_str(), tensor.clone());
            if let Some(name) = name.strip_prefix(prefix)
                && name.contains('.')
                && !name.contains(['/', ':'])
            {
                found.weights.insert(name.to_owned(), tensor.clone());
            }
        }
        let named = |n: &usize| within(&found.weights, &inside(*n)).next().is_some();
        let flow_is_named_once = (0..couplings(&found.weights)).filter(named).count() == 1;
        let mut additions = HashMap::new();
        for node in &file.nodes {
            if node.op == "Add" {
                additions.extend(node.inputs.iter().map(|input| (input.as_str(), node)));
            }
            // Nodes come after what they use.
            let value = match (node.op.as_str(), node.inputs.first()) {
                ("Identity" | "Cast", Some(input)) => values.get(input.as_str()).cloned(),
                ("Transpose", Some(input)) => {
                    let turns = node.ints.get("perm").is_none_or(|perm| perm[..] == [1, 0]);
                    let table = values.get(input.as_str()).filter(|_| turns);
                    table.and_then(LazyTensor::transposed)
                }
                _ => None,
            };
            if let (Some(value), Some(output)) = (value, node.outputs.first()) {
                values.insert(output, value);
            }
        }
        // A merged constant is an identity under its own name.
        for node in file.nodes.iter().filter(|node| node.op == "Identity") {
            if let Some(output) = node.outputs.first()
                && let (Some(name), Some(value)) =
                    (output.strip_prefix(prefix), values.get(output.as_str()))
                && !name.contains(['/', ':'])
            {
                let entry = found.weights.entry(name.to_owned());
                entry.or_insert_with(|| value.clone());
            }
        }
        Ok(Self {
            values,
            additions,
            prefix: prefix.to_owned(),
            flow_is_named_once,
            found,
        })
    }

    /// The layer whose bias is the constant `name`.
    fn by_bias(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix(&self.prefix)?;
        let layer = name.strip_suffix(".bias")?;
        (!layer.contains(['/', ':'])).then(|| layer.to_owned())
    }

    /// The modules a node stands in: `/dec/resblocks.0/convs1.0/Conv` is in `dec.resblocks.0.convs1.0`.
    fn scope(&self, node: &Node) -> Option<String> {
        let (modules, _) = node.name.strip_prefix('/')?.rsplit_once('/')?;
        let name = modules.replace('/', ".");
        Some(name.strip_prefix(&self.prefix).unwrap_or(&name).to_owned())
    }

    fn value(&self, node: &Node, place: usize) -> Option<LazyTensor> {
        self.values.get(node.inputs.get(place)?.as_str()).cloned()
    }

    fn layer(&self, node: &Node) -> Option<Layer> {
        let mut bias = node.inputs.get(2).map(String::as_str);
        let weight = match node.op.as_str() {
            "Conv" | "ConvTranspose" => self.value(node, 1),
            "Gemm" => {
                let weight = self.value(node, 1)?;
                // Gemm multiplies by B, and by its transpose where it says so.
                if node.ints.get("transB").is_some_and(|turn| turn[..] == [1]) {
                    Some(weight)
                } else {
                    Some(weight.transposed()?)
                }
            }
            "MatMul" => {
                let addition = node
                    .outputs
                    .first()
                    .and_then(|output| self.additions.get(output.as_str()));
                bias = addition.and_then(|node| {
                    let mut inputs = node.inputs.iter().map(String::as_str);
                    inputs.find(|name| self.values.contains_key(name))
                });
                Some(self.value(node, 1)?.transposed()?)
            }
            _ => return None,
        };
        Some(Layer {
            weight,
            bias: bias.and_then(|name| self.values.get(name).cloned()),
            by_bias: bias.and_then(|name| self.by_bias(name)),
            by_scope: self.scope(node),
        })
    }

    fn offer(&mut self, name: String, tensor: LazyTensor) {
        self.found.weights.entry(name).or_insert(tensor);
    }

    /// Remembers a layer as `name`, unless its weight is known.
    fn put(&mut self, name: &str, layer: &Layer, node: &Node) {
        let has = |part: &str| self.found.weights.contains_key(&format!("{name}.{part}"));
        let kept = has("weight_v") || has("parametrizations.weight.original1");
        if let Some(weight) = layer.weight.as_ref().filter(|_| !kept) {
            self.offer(format!("{name}.weight"), weight.clone());
        }
        if let Some(bias) = &layer.bias {
            self.offer(format!("{name}.bias"), bias.clone());
        }
        self.extents(name, node);
    }

    fn extents(&mut self, name: &str, node: &Node) {
        let one = |what: &str| match node.ints.get(what).map(Vec::as_slice) {
            Some(&[number]) => usize::try_from(number).ok(),
            _ => None,
        };
        if let Some(stride) = one("strides") {
            self.found.strides.entry(name.to_owned()).or_insert(stride);
        }
        if let Some(dilation) = one("dilations") {
            self.found
                .dilations
                .entry(name.to_owned())
                .or_insert(dilation);
        }
    }

    /// Gain and shift of a normalisation whose own names were lost when constants were merged.
    fn normalisation(&mut self, node: &Node) {
        let parts: [(usize, &str); 2] = match node.op.as_str() {
            "Mul" => [(0, "gamma"), (1, "gamma")],
            "Add" => [(0, "beta"), (1, "beta")],
            "LayerNormalization" => [(1, "gamma"), (2, "beta")],
            _ => return,
        };
        let Some(scope) = self
            .scope(node)
            .filter(|scope| scope.contains("norm_layers_"))
        else {
            return;
        };
        for (place, part) in parts {
            if let Some(value) = self
                .value(node, place)
                .filter(|value| value.shape().len() == 1)
            {
                self.offer(format!("{scope}.{part}"), value);
            }
        }
    }

    /// RVC's last convolution has no bias, and nodes of older exporters have no modules in their names: its result goes
    /// through a hyperbolic tangent, and it is the only one with a single channel.
    fn last_convolution(&mut self, file: &OnnxFile) {
        for node in file.nodes.iter().filter(|node| node.op == "Tanh") {
            let before =
                |other: &&Node| other.op == "Conv" && other.outputs.first() == node.inputs.first();
            let Some(weight) = file
                .nodes
                .iter()
                .find(before)
                .and_then(|conv| self.value(conv, 1))
            else {
                continue;
            };
            let kept = self.found.weights.contains_key("dec.conv_post.weight_v");
            if weight.shape().first() == Some(&1) && !kept {
                self.offer("dec.conv_post.weight".to_owned(), weight);
            }
        }
    }

    /// Couplings that share what is inside of them have names for it once, and what all compute alike is computed once: under
    /// the modules of whichever comes first. What is known of any of them is known of all.
    fn shared_flow(&mut self) {
        let weights = &mut self.found.weights;
        let count = couplings(weights);
        let known = |n: usize| within(weights, &inside(n)).collect::<BTreeSet<_>>();
        if !self.flow_is_named_once || (1..count).all(|n| known(n) == known(0)) {
            return;
        }
        for start in (0..count).map(inside) {
            let names: Vec<String> = within(weights, &start).map(str::to_owned).collect();
            for name in names {
                if let Some(tensor) = weights.remove(&format!("{start}{name}")) {
                    let entry = weights.entry(format!("flow.wn.{name}"));
                    entry.or_insert(tensor);
                }
            }
        }
    }

    /// Exports that mix speakers hold their embeddings as a factor `[1, S, 1, 1, G]`.
    fn speakers(&mut self, file: &OnnxFile) {
        let Some(&[_, width, _]) = self
            .found
            .weights
            .get("dec.cond.weight")
            .map(LazyTensor::shape)
        else {
            return;
        };
        for node in file.nodes.iter().filter(|node| node.op == "Mul") {
            let factors = (0..2).filter_map(|place| self.value(node, place));
            let mut tables = factors.filter_map(|factor| match *factor.shape() {
                [1, speakers, 1, 1, channels] if channels == width => {
                    factor.reshaped(&[speakers, channels])
                }
                _ => None,
            });
            if let Some(table) = tables.next() {
                self.offer("emb_g.weight".to_owned(), table);
            }
        }
    }
}

/// How many couplings the flow of a voice has.
fn couplings(weights: &StateDict) -> usize {
    (0..)
        .take_while(|n| weights.contains_key(&format!("flow.flows.{}.pre.weight", 2 * n)))
        .count()
}

/// What the names inside of a coupling begin with.
fn inside(coupling: usize) -> String {
    format!("flow.flows.{}.enc.", 2 * coupling)
}

/// Names that begin with `start`, without it.
fn within<'w>(weights: &'w StateDict, start: &str) -> impl Iterator<Item = &'w str> {
    let start = start.to_owned();
    weights
        .keys()
        .filter_map(move |name| name.strip_prefix(&start))
}

/// What to say of another network.
fn foreign(file: &OnnxFile) -> ReadError {
    let mut inputs: Vec<String> = file
        .inputs
        .iter()
        .take(MAX_LISTED)
        .map(|name| format!("\"{}\"", name.escape_debug()))
        .collect();
    if file.inputs.len() > MAX_LISTED {
        inputs.push("…".to_owned());
    }
    ReadError::NotRecognised {
        path: file.source().path().to_path_buf(),
        expected: "an ONNX export of a so-vits-svc 4 or RVC voice (it has no tensor \"enc_p.proj.bias\")",
        found: format!("a model with the inputs {}", inputs.join(", ")),
        remedy: "Choose the voice's own export, or the checkpoint it was made from (.pth)",
    }
}
