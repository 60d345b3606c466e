//! Black-box tests: torture/, flows/ and interop/ are the test targets.
