//! Libraries that cannot do without tokio's runtime, driven by gort's tasks, and the same code on
//! gort and on tokio, compared. This is a package of its own, because it has tokio's runtime among
//! its dependencies, which `gort-ecosystem` promises not to have.
