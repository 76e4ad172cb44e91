//! Benches of the parts of the mesh, in `benches/`; of whole programs, in `run`.
