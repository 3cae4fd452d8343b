use podway_watch::manifest;

#[test]
fn x() {
    for path in [
        "tests/data/allow-myapp-ingress.broken.yaml",
        "tests/data/httpd-egress.broken.yaml",
        "/work/shared/inputs/allow-myapp-ingress.as-found.yaml",
        "/work/shared/inputs/httpd-egress.as-found.yaml",
    ] {
        println!("{}\n", manifest::read(&[path.into()]).unwrap_err());
    }
    for t in [
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: x\nspec:\n  prots:\n  - port: 99999\n    nodePrt: 1\n  - port: \"80\"\n    targetPort: http\n  type: 3\n  selector: {a: true}\n",
        "a: 1\n\tb: 2\n",
        "a: 1\nb: 2\na: 3\n",
        "a: [1\nb: 2\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - name: a\n    ports: [{containerPort: 70000}]\n---\napiVersion: v1\nkind: Deployment\n---\n# c\n---\nkind: Pods\napiVersion: v1\n---\nfoo\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: 3}\n",
        "apiVersion: networking.k8s.io/v1beta1\nkind: NetworkPolicy\n",
    ] {
        println!("{}\n", manifest::parse("t.yaml", t).unwrap_err());
    }
    panic!();
}
