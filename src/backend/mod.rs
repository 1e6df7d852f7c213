//! Who owns memory and addresses: the trait that the ICD talks to, and its implementations.
