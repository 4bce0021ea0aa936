//! The parameters of an encoder, out of its weights and into them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::super::weights::{Stored, Weights};
use super::names::{Place, place};
use crate::LmError;
use crate::architecture::{EncoderClassifier, EncoderConfig, EncoderFamily};
use crate::parameters::{ParameterPath, Values, values};
use crate::random::{Stream, normals};

/// Standard deviation of a new head's matrices, as in all three families.
const HEAD_STD: f64 = 0.02;

/// Whether there is a classification head: its last layer.
pub(super) fn has_head(weights: &Weights, family: EncoderFamily) -> bool {
    place(family, "output.weight").tensors.iter().all(|tensor| weights.has(&tensor.names()))
}

/// Makes a classifier of its weights. Nothing is read or allocated before all names, shapes and types are
/// known to be right. With `new_head`, the tensors of the head that are missing are drawn.
///
/// # Errors
/// [`LmError::Tensor`] for the first tensor that is missing, misshapen or of another type, and the errors of
/// reading.
pub(super) fn read(
    weights: &Weights,
    config: &EncoderConfig,
    labels: usize,
    new_head: Option<Stream>,
    device: &Device,
) -> Result<EncoderClassifier, LmError> {
    // Even layers without values would fill the memory if a damaged file asked for enough of them.
    let layers = config.num_hidden_layers;
    if layers > weights.count() {
        let expected = format!("those of {layers} layers, as config.json says");
        return Err(LmError::file(weights.path(), format!("{} tensors", weights.count()), expected));
    }
    let declared = EncoderClassifier::declared(config, labels, device);
    let path = ParameterPath::default();
    let mut check = Check { path, family: config.family, weights, new_head, found: Ok(Vec::new()) };
    declared.visit(&mut check);
    let mut fill = Fill { sources: check.found?.into_iter(), error: None };
    let model = declared.map(&mut fill);
    fill.error.map_or(Ok(model), Err)
}

/// The tensors of a file, with their values.
pub(super) fn values_of(model: &EncoderClassifier) -> BTreeMap<String, Values> {
    let family = model.config().family;
    let mut tensors = BTreeMap::new();
    for (path, Values { shape, values }) in values(model, |_| true) {
        let Place { tensors: parts, transposed } = place(family, &path);
        let columns = shape.last().copied().unwrap_or(1);
        let width = columns / parts.len();
        for (index, part) in parts.into_iter().enumerate() {
            let rows = values.chunks_exact(columns.max(1));
            let own: Vec<f32> =
                rows.flat_map(|row| &row[index * width..(index + 1) * width]).copied().collect();
            let mut shape = shape.clone();
            shape.last_mut().into_iter().for_each(|last| *last = width);
            let values = if transposed { transpose(&own, width) } else { own };
            if transposed {
                shape.reverse();
            }
            tensors.insert(part.name, Values { shape, values });
        }
    }
    tensors
}

/// Where a parameter's values come from.
enum Source<'a> {
    /// Tensors side by side along the last axis, `[out, in]` each if `transposed`.
    Stored { parts: Vec<Stored<'a>>, transposed: bool },
    /// A new head's matrix.
    Drawn(Stream),
    /// A new head's biases.
    Zeros,
}

impl Source<'_> {
    fn read(&self, shape: &[usize]) -> Result<Vec<f32>, LmError> {
        let count = shape.iter().product();
        match self {
            Self::Zeros => Ok(vec![0.0; count]),
            Self::Drawn(stream) => Ok(normals(count, HEAD_STD, &mut stream.rng())),
            Self::Stored { parts, transposed } => {
                let mut read = Vec::with_capacity(parts.len());
                for part in parts {
                    read.push(part.read()?);
                }
                if *transposed {
                    // `[out, in]` of the parts one below the other is the transpose of all of them.
                    let inputs = shape[0];
                    return Ok(transpose(&read.concat(), inputs));
                }
                // Biases follow one another; a table is one part.
                Ok(read.concat())
            }
        }
    }
}

/// The transpose of a row-major matrix with so many columns.
fn transpose(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    (0..matrix.len()).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

/// Finds the tensors of every parameter, in the order of the module's fields.
struct Check<'a> {
    path: ParameterPath,
    family: EncoderFamily,
    weights: &'a Weights,
    new_head: Option<Stream>,
    found: Result<Vec<Source<'a>>, LmError>,
}

impl<'a> Check<'a> {
    fn find(&self, path: &str, shape: &[usize]) -> Result<Source<'a>, LmError> {
        let Place { tensors, transposed } = place(self.family, path);
        let missing = || tensors.iter().all(|tensor| !self.weights.has(&tensor.names()));
        if let Some(stream) = self.new_head.filter(|_| !path.starts_with("body.") && missing()) {
            let branch = u64::from(path.starts_with("output."));
            return Ok(if shape.len() > 1 { Source::Drawn(stream.child(branch)) } else { Source::Zeros });
        }
        let mut stored = shape.to_vec();
        stored.last_mut().into_iter().for_each(|last| *last /= tensors.len());
        if transposed {
            stored.reverse();
        }
        let parts = tensors.iter().map(|tensor| self.weights.find(&tensor.names(), &stored));
        Ok(Source::Stored { parts: parts.collect::<Result<_, _>>()?, transposed })
    }
}

impl ModuleVisitor for Check<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.found.is_ok() {
            let source = self.find(&self.path.to_string(), param.lazy_shape().as_slice());
            match (&mut self.found, source) {
                (Ok(found), Ok(source)) => found.push(source),
                (found, Err(error)) => *found = Err(error),
                (Err(_), Ok(_)) => {}
            }
        }
    }
}

/// Gives the parameters the values of their sources, which come in the order of the module's fields.
struct Fill<'a> {
    sources: std::vec::IntoIter<Source<'a>>,
    error: Option<LmError>,
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(source) = self.sources.next().filter(|_| self.error.is_none()) else { return param };
        let shape = param.lazy_shape();
        match source.read(shape.as_slice()) {
            Ok(values) => {
                let data = TensorData::new(values, shape);
                Param::from_tensor(Tensor::from_data(data, &param.lazy_device()))
            }
            Err(error) => {
                self.error = Some(error);
                param
            }
        }
    }
}
