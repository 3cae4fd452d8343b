//! List and watch Kubernetes objects into the cluster's state.
