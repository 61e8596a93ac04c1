//! Tensors as torch's pickles describe them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::error::ReadError;
use super::super::number::{ElementType, SUPPORTED};
use super::super::numpy::sizes;
use super::super::pickle::Value;
use super::super::source::{Source, Span, Stored};
use super::super::tensor::{Layout, LazyTensor};

/// Parameters may wrap tensors; a file that wraps deeper is not one of torch.
const MAX_WRAPPED: usize = 8;

/// Where the storages lie, by key.
pub(super) type Storages = HashMap<String, Span>;

/// What a pickle says of a storage that is kept beside it.
pub(super) struct StorageKey {
    pub name: String,
    /// `None` where it is of a type that is not understood.
    pub element_type: Option<ElementType>,
    class: String,
    /// First element and number of elements, where only a part is meant.
    view: Option<(u64, u64)>,
}

impl StorageKey {
    /// `("storage", class, key, device, elements)`, in old files with `(key, offset, elements)` of a view or `None`.
    pub fn read(key: Value<'_>) -> Option<Self> {
        let fields = key.few_elements(8)?;
        let [kind, class, name, _device, _count, rest @ ..] = fields.as_slice() else {
            return None;
        };
        if kind.as_str()? != "storage" {
            return None;
        }
        let class = class.as_name()?;
        let view = match rest.first() {
            Some(view) if !view.is_none() => {
                let view = view.few_elements(8)?;
                let [_key, offset, count] = view.as_slice() else {
                    return None;
                };
                let number = |value: &Value<'_>| u64::try_from(value.as_int()?).ok();
                Some((number(offset)?, number(count)?))
            }
            _ => None,
        };
        let short = class.rsplit('.').next().unwrap_or(&class);
        Some(Self {
            name: name.as_str()?.into_owned(),
            element_type: ElementType::of_torch_storage(short),
            class,
            view,
        })
    }

    /// Where the storage lies in the file.
    fn find(&self, source: &Source, storages: &Storages, part: &str) -> Result<Span, ReadError> {
        let whole = storages.get(&self.name).copied().ok_or_else(|| {
            let found = format!("no storage \"{}\"", self.name.escape_debug());
            source.damaged(part, "a tensor whose storage is in the file", found)
        })?;
        let Some((offset, count)) = self.view else {
            return Ok(whole);
        };
        let width = self.element_type.map_or(1, ElementType::bytes) as u64;
        let span = (offset.checked_mul(width))
            .zip(count.checked_mul(width))
            .filter(|(start, length)| {
                start
                    .checked_add(*length)
                    .is_some_and(|end| end <= whole.length)
            });
        let (start, length) = span.ok_or_else(|| {
            let found = format!("{count} elements from {offset}");
            source.damaged(part, "a view inside its storage", found)
        })?;
        Ok(Span {
            start: whole.start + start,
            length,
        })
    }
}

/// The tensor that a value stands for, `None` where it is something else.
pub(super) fn tensor(
    source: &Arc<Source>,
    storages: &Storages,
    value: Value<'_>,
    part: &str,
) -> Result<Option<LazyTensor>, ReadError> {
    let Some(object) = value.as_object() else {
        return Ok(None);
    };
    let (mut name, mut arguments) = (object.name, object.arguments);
    let broken = |found: &str| source.damaged(part, "a tensor as torch writes it", found);
    for _ in 0..MAX_WRAPPED {
        let next = match name.as_str() {
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let inner = arguments.first().and_then(|inner| inner.as_object());
                let inner = inner.ok_or_else(|| broken("a parameter without a tensor"))?;
                (inner.name, inner.arguments)
            }
            "torch._tensor._rebuild_from_type_v2" => {
                let [function, _class, inner, ..] = arguments.as_slice() else {
                    return Err(broken("a tensor of a class without its contents"));
                };
                function
                    .as_name()
                    .zip(inner.few_elements(16))
                    .ok_or_else(|| broken("a tensor of a class without its contents"))?
            }
            "torch._utils._rebuild_tensor"
            | "torch._utils._rebuild_tensor_v2"
            | "torch._utils._rebuild_tensor_v3" => {
                return dense(source, storages, &name, &arguments, part).map(Some);
            }
            _ => return Ok(None),
        };
        (name, arguments) = next;
    }
    Err(broken("one wrapped in too many others"))
}

fn dense(
    source: &Arc<Source>,
    storages: &Storages,
    function: &str,
    arguments: &[Value<'_>],
    part: &str,
) -> Result<LazyTensor, ReadError> {
    let broken = |found: &str| source.damaged(part, "a tensor as torch writes it", found);
    let [storage, offset, shape, strides, rest @ ..] = arguments else {
        return Err(broken("one without storage, offset, shape or strides"));
    };
    let key = (storage.as_persistent().and_then(StorageKey::read))
        .ok_or_else(|| broken("one without a storage"))?;
    let unsupported = |found: &str| ReadError::Unsupported {
        path: source.path().to_path_buf(),
        part: format!("the element type of {part}"),
        found: format!("\"{}\"", found.escape_debug()),
        supported: SUPPORTED,
        remedy: "Convert the tensor with .float() and save the file again",
    };
    let element_type = if function.ends_with("_v3") {
        let name = rest
            .get(2)
            .and_then(|name| name.as_name())
            .unwrap_or_default();
        let plain = name.strip_prefix("torch.").unwrap_or(&name);
        ElementType::of_torch(plain).ok_or_else(|| unsupported(&name))?
    } else {
        key.element_type.ok_or_else(|| unsupported(&key.class))?
    };
    let layout = Layout {
        shape: sizes(*shape).ok_or_else(|| broken("a shape that is no tuple of sizes"))?,
        strides: Some(sizes(*strides).ok_or_else(|| broken("strides that are no tuple of steps"))?),
        offset: offset
            .as_int()
            .and_then(|offset| u64::try_from(offset).ok())
            .ok_or_else(|| broken("an offset that is no number"))?,
    };
    let storage = Stored::Raw(key.find(source, storages, part)?);
    LazyTensor::new(source, storage, element_type, layout, part)
}
