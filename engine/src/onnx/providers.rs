//! Where graphs run beside the CPU: what the runtime has, what is asked for, and how a session is put there.

use ort::ep::{
    CUDA, CoreML, DirectML, ExecutionProvider, ExecutionProviderDispatch, MIGraphX, OpenVINO,
    WebGPU, cuda,
};
use parking_lot::Mutex;

use super::CPU;
use crate::locate;

/// The end of every provider's name in ONNX Runtime.
const NAMED_SO: &str = "ExecutionProvider";

/// A provider that is known.
struct Known {
    name: &'static str,
    /// Whether the runtime was built with it.
    is_there: fn() -> ort::Result<bool>,
    make: fn() -> ExecutionProviderDispatch,
}

/// A provider with nothing but its defaults.
fn usual<P: ExecutionProvider + Default + 'static>() -> Known
where
    ExecutionProviderDispatch: From<P>,
{
    Known {
        name: P::NAME,
        is_there: P::is_available,
        make: || P::default().into(),
    }
}

/// Those that are known, in the order in which they are tried.
fn known() -> [Known; 6] {
    [
        Known {
            // Steps are not all as long, and the exhaustive search is made anew for every length.
            make: || {
                CUDA::default()
                    .with_conv_algorithm_search(cuda::ConvAlgorithmSearch::Heuristic)
                    .into()
            },
            ..usual::<CUDA>()
        },
        usual::<MIGraphX>(),
        usual::<CoreML>(),
        usual::<DirectML>(),
        usual::<WebGPU>(),
        usual::<OpenVINO>(),
    ]
}

/// What is wanted of providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// Whichever of those the runtime has makes a graph faster than the CPU does.
    Fastest,
    /// These, in this order, whether they are faster or not; none is the CPU.
    Named(Vec<String>),
}

impl Wish {
    /// By a list as people write it: `CUDA,OpenVINO`; `CPU` ends it. Nothing is the fastest.
    fn parse(list: &str) -> Self {
        let names: Vec<String> = list
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(canonical)
            .collect();
        if names.is_empty() {
            return Self::Fastest;
        }
        let before_cpu = names.into_iter().take_while(|name| name != CPU);
        Self::Named(before_cpu.collect())
    }

    /// What there is to try.
    pub(super) fn providers(&self) -> Vec<String> {
        match self {
            Self::Fastest => there(),
            Self::Named(names) => names.clone(),
        }
    }
}

static WISH: Mutex<Option<Wish>> = Mutex::new(None);

/// Execution providers to try in order before the CPU, by ONNX Runtime's names with or without `ExecutionProvider`. Holds for
/// graphs loaded from now on, instead of what [`locate::PROVIDERS_VARIABLE`] says; what a library does not have is passed over
/// with a message.
pub fn prefer_providers(names: &[&str]) {
    *WISH.lock() = Some(Wish::parse(&names.join(",")));
}

pub(super) fn wish() -> Wish {
    let asked = || std::env::var(locate::PROVIDERS_VARIABLE).unwrap_or_default();
    WISH.lock()
        .get_or_insert_with(|| Wish::parse(&asked()))
        .clone()
}

/// The known providers that the runtime in use was built with, by ONNX Runtime's names; none before it is loaded.
pub fn there() -> Vec<String> {
    if super::ensure_runtime().is_err() {
        return Vec::new();
    }
    known()
        .iter()
        .filter(|known| (known.is_there)().unwrap_or(false))
        .map(|known| known.name.to_owned())
        .collect()
}

/// A provider for the options of a session; `None` for one that is not known.
pub(super) fn dispatch(name: &str) -> Option<ExecutionProviderDispatch> {
    let known = known().into_iter().find(|known| known.name == name)?;
    Some((known.make)().error_on_failure())
}

/// ONNX Runtime's name of a provider, by it or by what people call it.
fn canonical(name: &str) -> String {
    let plain = |name: &str| name.trim_end_matches(NAMED_SO).to_lowercase();
    let wanted = match plain(name).as_str() {
        "directml" => "dml".to_owned(),
        other => other.to_owned(),
    };
    known()
        .iter()
        .map(|known| known.name)
        .chain(std::iter::once(CPU))
        .find(|known| plain(known) == wanted)
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_people_write_them() {
        let named = |names: &[&str]| Wish::Named(names.iter().map(|n| (*n).to_owned()).collect());
        assert_eq!(Wish::parse(""), Wish::Fastest);
        assert_eq!(Wish::parse(" , "), Wish::Fastest);
        assert_eq!(Wish::parse("cpu"), named(&[]));
        assert_eq!(
            Wish::parse("cuda, DirectML ,CPU,OpenVINO"),
            named(&["CUDAExecutionProvider", "DmlExecutionProvider"])
        );
        assert_eq!(
            Wish::parse("OpenVINOExecutionProvider,Something"),
            named(&["OpenVINOExecutionProvider", "Something"])
        );
    }
}
