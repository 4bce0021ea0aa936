//! What every study needs, whatever its data and its methods: an output folder with markers of finished work,
//! stages, runs as child processes, work taken over from other folders, and a manifest.

pub mod adoption;
pub mod children;
pub mod folder;
pub mod interrupt;
pub mod manifest;
mod sizes;
pub mod stages;
pub mod work;
