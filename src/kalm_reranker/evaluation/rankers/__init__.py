"""Whatever orders candidates in an evaluation: our models, and others under the same protocol."""
