//! The names that data needs. They are only compared, never looked up.

/// What an allowed name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A mapping: its entries are the value.
    Mapping,
    /// A sequence or set: its elements are the value.
    Sequence,
    /// An object of which only the attributes count.
    Attributes,
    /// A function or type that is understood where it appears (tensors, arrays, bytes).
    Data,
}

/// One spelling for each name: modules moved between versions of Python and NumPy.
pub(super) fn canonical(module: &str, name: &str) -> String {
    let module = match module {
        "__builtin__" => "builtins".into(),
        "copy_reg" => "copyreg".into(),
        _ if module.starts_with("faiss.") => "faiss".into(),
        _ => module.replacen("numpy._core.", "numpy.core.", 1),
    };
    format!("{module}.{name}")
}

/// What a canonical name stands for, or `None` where it is not allowed.
pub(super) fn role(name: &str) -> Option<Role> {
    Some(match name {
        "collections.OrderedDict"
        | "collections.defaultdict"
        | "collections.Counter"
        | "builtins.dict" => Role::Mapping,
        "builtins.list" | "builtins.tuple" | "builtins.set" | "builtins.frozenset"
        | "collections.deque" | "torch.Size" => Role::Sequence,
        "argparse.Namespace"
        | "types.SimpleNamespace"
        | "copyreg._reconstructor"
        | "copyreg.__newobj__" => Role::Attributes,
        "builtins.object" | "builtins.int" | "builtins.float" | "builtins.bool"
        | "builtins.str" | "builtins.complex" | "builtins.bytes" | "builtins.bytearray"
        | "_codecs.encode" => Role::Data,
        "torch._utils._rebuild_tensor"
        | "torch._utils._rebuild_tensor_v2"
        | "torch._utils._rebuild_tensor_v3"
        | "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch._tensor._rebuild_from_type_v2"
        | "torch.Tensor"
        | "torch.nn.parameter.Parameter"
        | "torch.device"
        | "torch.dtype"
        | "torch.storage.UntypedStorage"
        | "torch.storage.TypedStorage" => Role::Data,
        "numpy.core.multiarray._reconstruct"
        | "numpy.core.multiarray.scalar"
        | "numpy.core.numeric._frombuffer"
        | "numpy.ndarray"
        | "numpy.dtype" => Role::Data,
        _ => return family(name),
    })
}

/// Classes that have many names.
fn family(name: &str) -> Option<Role> {
    let (module, class) = name.rsplit_once('.')?;
    match module {
        "torch" if class.ends_with("Storage") || is_torch_type(class) => Some(Role::Data),
        // NumPy 1.20 to 1.24 name the types of single values in `numpy`, later ones in `numpy.dtypes`.
        "numpy.dtypes" if class.ends_with("DType") => Some(Role::Data),
        "faiss" if class.starts_with("Index") => Some(Role::Attributes),
        "sklearn.cluster" | "sklearn.cluster._kmeans" | "sklearn.cluster.k_means_"
            if matches!(class, "KMeans" | "MiniBatchKMeans") =>
        {
            Some(Role::Attributes)
        }
        // so-vits-svc and RVC keep this class of settings in modules of several names.
        _ if matches!(class, "HParams" | "InferHParams")
            && module
                .rsplit('.')
                .next()
                .is_some_and(|last| matches!(last, "utils" | "__main__" | "hparams")) =>
        {
            Some(Role::Attributes)
        }
        // Settings that HuBERT checkpoints of fairseq have beside their tensors.
        _ if ["fairseq.", "omegaconf."]
            .iter()
            .any(|package| format!("{module}.").starts_with(package))
            && class.starts_with(|first: char| first.is_ascii_uppercase()) =>
        {
            Some(Role::Attributes)
        }
        "typing" if class == "Any" => Some(Role::Data),
        _ => None,
    }
}

fn is_torch_type(name: &str) -> bool {
    let digits = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let stem = &name[..name.len() - digits.len()];
    matches!(
        (stem, digits),
        (
            "float" | "int" | "complex",
            "8" | "16" | "32" | "64" | "128"
        ) | ("bfloat", "16")
            | ("uint", "8" | "16" | "32" | "64")
            | (
                "float" | "double" | "half" | "bool" | "int" | "long" | "short",
                ""
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_is_allowed() {
        for (module, name) in [
            ("collections", "OrderedDict"),
            ("__builtin__", "set"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("faiss.swigfaiss_avx2", "IndexIVFFlat"),
            ("torch", "HalfStorage"),
            ("torch", "bfloat16"),
            ("lib.utils", "HParams"),
            ("fairseq.data.dictionary", "Dictionary"),
            ("omegaconf.dictconfig", "DictConfig"),
        ] {
            assert!(role(&canonical(module, name)).is_some(), "{module}.{name}");
        }
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("__builtin__", "exec"),
            ("builtins", "getattr"),
            ("torch", "load"),
            ("torch.storage", "_load_from_bytes"),
            ("torch.os", "system"),
            ("torch", "os.system"),
            ("faiss", "read_index"),
            ("faiss.loader", "os.Index"),
            ("numpy", "load"),
            ("subprocess", "Popen"),
            ("fairseq.utils", "import_user_module"),
            ("fairseqs.utils", "Popen"),
            ("os.utils", "HParams.system"),
            ("", ""),
        ] {
            assert_eq!(role(&canonical(module, name)), None, "{module}.{name}");
        }
    }
}
