//! The policies that are compared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use frontier::Method;

use crate::commands::training::start::require_model;
use crate::exit::BadInput;

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The reference itself.
    Reference,
    /// The best of several samples of the reference.
    BestOf(usize),
    /// A folder, and what made it.
    Folder { made_by: String, folder: PathBuf },
}

/// A policy with a seed: that of its training, or that of its draws if it is not trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestant {
    pub method: Method,
    pub seed: u64,
    pub origin: Origin,
}

impl Contestant {
    /// The name of its stage.
    pub fn stage(&self) -> String {
        format!("samples-{}-s{}", self.method, self.seed)
    }
}

/// Folders of policies by the name of their method, one for each seed from the first on.
pub type Folders = BTreeMap<Method, Vec<PathBuf>>;

/// The reference and the best of `n` of its samples with every seed, the trained policies, and those in
/// folders.
pub fn contestants(
    (seeds, trained): (&[u64], &[Contestant]),
    n: usize,
    folders: &Folders,
) -> Result<Vec<Contestant>> {
    let mut all = Vec::new();
    let mut every_seed = |method, origin: Origin| {
        all.extend(seeds.iter().map(|&seed| Contestant { method, seed, origin: origin.clone() }));
    };
    every_seed(Method::REFERENCE, Origin::Reference);
    if n > 1 {
        every_seed(Method::BEST_OF_N, Origin::BestOf(n));
    }
    all.extend_from_slice(trained);
    for (&method, folders) in folders {
        if folders.is_empty() || folders.len() > seeds.len() {
            let expected = format!("1 to {}, as many as there are seeds", seeds.len());
            let found = format!("{} folders", folders.len());
            return Err(BadInput(format!("folders.{method}: found {found}, expected {expected}")).into());
        }
        for (folder, &seed) in folders.iter().zip(seeds) {
            require_model(&format!("folders.{method}"), folder)?;
            let origin = Origin::Folder { made_by: folder.display().to_string(), folder: folder.clone() };
            all.push(Contestant { method, seed, origin });
        }
    }
    let mut stages: Vec<String> = all.iter().map(Contestant::stage).collect();
    stages.sort();
    if let Some(twice) = stages.windows(2).find(|pair| pair[0] == pair[1]) {
        let method = all.iter().find(|one| one.stage() == twice[0]).map(|one| one.method.name());
        let found = format!("two policies of {}", method.unwrap_or_default());
        return Err(BadInput(format!("policies: found {found}, expected one for each method")).into());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository;

    #[test]
    fn every_policy_has_every_seed_and_folders_take_seeds_in_order() {
        let dpo = |seed| {
            let origin = Origin::Folder { made_by: "run".to_owned(), folder: PathBuf::from("x") };
            Contestant { method: Method::DPO, seed, origin }
        };
        let trained = [dpo(3), dpo(5)];
        let mine = Method::named("mine").unwrap();
        let model = repository::path("data/reference-lm").unwrap();
        let mut folders = Folders::from([(mine, vec![model.clone()])]);
        let found = |folders: &Folders| contestants((&[3, 5], &trained), 4, folders);
        let names: Vec<String> = found(&folders).unwrap().iter().map(Contestant::stage).collect();
        let expected =
            ["reference-s3", "reference-s5", "best-of-n-s3", "best-of-n-s5", "dpo-s3", "dpo-s5", "mine-s3"];
        assert_eq!(names, expected.map(|name| format!("samples-{name}")));
        let refused = |folders: &Folders| found(folders).unwrap_err().to_string();
        folders.insert(mine, vec![model.clone(); 3]);
        assert_eq!(
            refused(&folders),
            "folders.mine: found 3 folders, expected 1 to 2, as many as there are seeds"
        );
        folders.insert(mine, vec![PathBuf::from("nowhere")]);
        assert_eq!(refused(&folders), "folders.mine: found no config.json in nowhere, expected a model");
        folders.clear();
        folders.insert(Method::DPO, vec![model]);
        assert_eq!(refused(&folders), "policies: found two policies of dpo, expected one for each method");
    }
}
