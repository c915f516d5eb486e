//! What every executor must do, whatever it runs.
