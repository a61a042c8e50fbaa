//! Mutants against other code: what each formula says, computed without the evaluator.
