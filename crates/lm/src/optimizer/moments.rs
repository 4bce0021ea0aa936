//! The moments of an optimiser in the state of a training, by the paths of their parameters.

use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::tensor::Tensor;

use crate::LmError;
use crate::parameters::{Place, Values, places};
use crate::sequences::to_vec;
use crate::state::{State, refuse};

/// `PyTorch`'s names for the moments of `AdamW`, in the order in which they are kept here.
pub(super) const ADAMW: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// `PyTorch`'s name for the moment of `RMSprop`.
pub(super) const RMSPROP: [&str; 1] = ["square_avg"];

/// Puts moments into a state, each in a section `name/KIND`.
pub(super) fn save<M: Module, const N: usize>(
    moments: &HashMap<ParamId, [Tensor<1>; N]>,
    kinds: [&str; N],
    (name, module): (&str, &M),
    into: &mut State,
) {
    for Place { path, id, shape, .. } in places(module) {
        // A parameter that has had no gradient yet has none.
        let Some(moments) = moments.get(&id) else { continue };
        for (kind, moment) in kinds.into_iter().zip(moments) {
            let values = Values { shape: shape.clone(), values: to_vec(moment.clone()) };
            into.set_tensor(&format!("{name}/{kind}"), &path, values);
        }
    }
}

/// The moments that [`save`] put into a state, for the parameters of `module`.
pub(super) fn read<M: Module, const N: usize>(
    kinds: [&str; N],
    (name, module): (&str, &M),
    from: &State,
) -> Result<HashMap<ParamId, [Tensor<1>; N]>, LmError> {
    let sections = kinds.map(|kind| format!("{name}/{kind}"));
    let places = places(module);
    for section in &sections {
        from.refuse_others(section, places.iter().map(|place| place.path.as_str()))?;
    }
    let mut moments = HashMap::new();
    for Place { path, id, shape, device } in places {
        let mut found = Vec::new();
        for section in &sections {
            found.extend(from.tensor(section, &path, &shape)?);
        }
        let count = found.len();
        let flat = |values: Vec<f32>| Tensor::from_floats(values.as_slice(), &device);
        let found: Vec<Tensor<1>> = found.into_iter().map(flat).collect();
        match <[Tensor<1>; N]>::try_from(found) {
            Ok(all) => moments.insert(id, all),
            Err(_) if count == 0 => None,
            Err(_) => {
                let expected = format!("all or none of {}", kinds.join(", "));
                return Err(refuse(&format!("{name}/{path}"), format!("{count} moments"), expected));
            }
        };
    }
    Ok(moments)
}
