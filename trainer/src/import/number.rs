//! Types of elements and how they become `f32`.

use half::{bf16, f16};

/// The type of the elements of a tensor or array, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or not.
    Bool,
}

/// The forms an error offers.
pub(super) const SUPPORTED: &str =
    "float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8 and bool";

impl ElementType {
    /// Size of an element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// The type of a `torch.*Storage`, by the class's name.
    pub(super) fn of_torch_storage(class: &str) -> Option<Self> {
        Some(match class {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "CharStorage" => Self::I8,
            "ShortStorage" => Self::I16,
            "IntStorage" => Self::I32,
            "LongStorage" => Self::I64,
            "ByteStorage" | "UntypedStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    /// The type that torch calls `torch.<name>`.
    pub(super) fn of_torch(name: &str) -> Option<Self> {
        Some(match name {
            "float16" | "half" => Self::F16,
            "bfloat16" => Self::BF16,
            "float32" | "float" => Self::F32,
            "float64" | "double" => Self::F64,
            "int8" => Self::I8,
            "int16" | "short" => Self::I16,
            "int32" | "int" => Self::I32,
            "int64" | "long" => Self::I64,
            "uint8" => Self::U8,
            "bool" => Self::Bool,
            _ => return None,
        })
    }

    /// The type that NumPy calls `f4` and the like, without the mark of the byte order.
    pub(super) fn of_numpy(name: &str) -> Option<Self> {
        Some(match name {
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" => Self::U8,
            "b1" => Self::Bool,
            _ => return None,
        })
    }

    /// Appends the elements of `bytes`; what is left of an element at the end is dropped.
    pub(super) fn append(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            Self::F16 => each(bytes, values, |b| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => each(bytes, values, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => each(bytes, values, f32::from_le_bytes),
            Self::F64 => each(bytes, values, |b| f64::from_le_bytes(b) as f32),
            Self::I8 => each(bytes, values, |b| f32::from(i8::from_le_bytes(b))),
            Self::I16 => each(bytes, values, |b| f32::from(i16::from_le_bytes(b))),
            Self::I32 => each(bytes, values, |b| i32::from_le_bytes(b) as f32),
            Self::I64 => each(bytes, values, |b| i64::from_le_bytes(b) as f32),
            Self::U8 => each(bytes, values, |b: [u8; 1]| f32::from(b[0])),
            Self::Bool => each(bytes, values, |b: [u8; 1]| f32::from(u8::from(b[0] != 0))),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], values: &mut Vec<f32>, convert: impl Fn([u8; N]) -> f32) {
    values.extend(bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_becomes_its_value() {
        let append = |kind: ElementType, bytes: &[u8]| {
            let mut values = Vec::new();
            kind.append(bytes, &mut values);
            values
        };
        assert_eq!(append(ElementType::F16, &[0x01, 0xc1]), [-2.501_953_1]);
        assert_eq!(append(ElementType::BF16, &[0x80, 0x3f, 0x20]), [1.0]);
        assert_eq!(
            append(ElementType::F64, &(-2.5f64).to_le_bytes()),
            [-2.5f32]
        );
        assert_eq!(append(ElementType::I64, &(-7i64).to_le_bytes()), [-7.0f32]);
        assert_eq!(append(ElementType::I8, &[0xff]), [-1.0]);
        assert_eq!(append(ElementType::I16, &[0xff, 0xff]), [-1.0]);
        assert_eq!(append(ElementType::U8, &[0xff]), [255.0]);
        assert_eq!(append(ElementType::Bool, &[0, 1, 7]), [0.0, 1.0, 1.0]);
    }
}
