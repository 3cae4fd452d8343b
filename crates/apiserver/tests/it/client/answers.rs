use hyper::Method;
use podway_apiserver::User;
use serde_json::{Value, json};

use super::{Client, MAPS, answer, with_server};
use crate::fixture::Server;

#[test]
fn nothing_is_answered_without_a_valid_token() {
    let server = Server::start();
    server.runtime.block_on(async {
        let stranger = Client::new(&server, User::Admin, Some("guess")).await;
        for url in [
            "/api/v1/pods",
            "/version",
            "/healthz",
            "/openapi/v3",
            "/no/such/path",
        ] {
            let (code, status) = stranger.get(url).await;
            assert_eq!(
                (code, &status["reason"]),
                (401, &json!("Unauthorized")),
                "{url}"
            );
        }
        let (code, _) = stranger
            .ask(Method::POST, MAPS, &json!({ "metadata": { "name": "x" } }))
            .await;
        assert_eq!(code, 401);
        for user in [User::Admin, User::Node] {
            let known = Client::new(&server, user, None).await;
            assert_eq!(known.get("/readyz").await, (200, json!("ok")));
        }
    });
}

/// Method, URL (MAPS and PODS stand for the collections), body, code, reason.
const REFUSALS: &str = r#"
GET    /api/v1/nothings                             -                            404 NotFound
GET    /apis/none/v1                                -                            404 NotFound
GET    MAPS/none                                    -                            404 NotFound
PUT    MAPS/none                                    {"metadata":{"name":"none"}} 404 NotFound
PUT    MAPS                                         {"metadata":{"name":"none"}} 405 MethodNotAllowed
POST   /version                                     -                            405 MethodNotAllowed
POST   /api/v1/configmaps                           {"metadata":{"name":"none"}} 405 MethodNotAllowed
DELETE /api/v1/namespaces                           -                            405 MethodNotAllowed
PATCH  MAPS/none                                    {"metadata":{"name":"none"}} 415 UnsupportedMediaType
POST   MAPS                                         []                           400 BadRequest
POST   MAPS                                         {"kind":"Pod"}               400 BadRequest
POST   MAPS?dryRun=Some                             {"metadata":{"name":"none"}} 400 BadRequest
POST   MAPS                                         {"metadata":{"name":"A_b"}}  422 Invalid
POST   MAPS                                         {"data":{}}                  422 Invalid
GET    MAPS?limit=x                                 -                            400 BadRequest
GET    MAPS?continue=x                              -                            400 BadRequest
GET    MAPS?labelSelector=a%20b                     -                            400 BadRequest
GET    MAPS?fieldSelector=data.a%3Db                -                            400 BadRequest
GET    MAPS?resourceVersion=99999                   -                            504 Timeout
GET    MAPS?watch=1&sendInitialEvents=true          -                            422 Invalid
GET    MAPS?watch=1&resourceVersionMatch=Exact      -                            422 Invalid
GET    PODS/none/log                                -                            404 NotFound
POST   PODS/none/attach                             -                            501 NotImplemented
POST   PODS/none/portforward                        -                            501 NotImplemented
GET    PODS/none/nothing                            -                            404 NotFound
"#;

#[test]
fn refusals_have_kubernetes_codes_and_reasons() {
    with_server(|client| async move {
        for line in REFUSALS.lines().filter(|line| !line.is_empty()) {
            let [method, url, body, code, reason] = line
                .split_whitespace()
                .collect::<Vec<_>>()
                .try_into()
                .unwrap();
            let url = url
                .replace("MAPS", MAPS)
                .replace("PODS", "/api/v1/namespaces/default/pods");
            let body = serde_json::from_str(body).unwrap_or_default();
            let (found, status) = client.ask(method.parse().unwrap(), &url, &body).await;
            assert_eq!(found.to_string(), code, "{line}: {status}");
            assert_eq!(status["reason"], reason, "{line}: {status}");
            assert_eq!(status["code"], found, "{line}: {status}");
            assert_eq!(status["kind"], "Status", "{line}: {status}");
        }
    });
}

#[test]
fn bodies_that_cannot_be_read_are_named() {
    with_server(|client| async move {
        let post = |kind: &'static str, body: &'static str| {
            let client = client.clone();
            async move {
                let headers = [("content-type", kind)];
                answer(client.send(Method::POST, MAPS, &headers, body).await).await
            }
        };
        let (code, status) = post("application/vnd.kubernetes.protobuf", "k8s\0").await;
        assert_eq!(code, 400);
        assert!(
            status["message"].as_str().unwrap().contains("protobuf"),
            "{status}"
        );
        assert_eq!(post("text/csv", "a,b").await.0, 415);
        assert_eq!(post("application/json", "{").await.0, 400);
        let huge: &'static str = "x".repeat(3 * 1024 * 1024 + 1).leak();
        let (code, status) = post("application/json", huge).await;
        assert_eq!(
            (code, &status["reason"]),
            (413, &json!("RequestEntityTooLarge"))
        );
    });
}

#[test]
fn unknown_fields_are_refused_told_or_dropped_as_asked() {
    with_server(|client| async move {
        let object =
            r#"{"metadata": {"name": "x"}, "dta": {"a": "b"}, "data": {"a": "1", "a": "2"}}"#;
        let cases: &[(&str, u16, &[&str])] = &[
            ("Strict", 400, &[]),
            (
                "Warn",
                201,
                &[
                    "299 - \"unknown field \\\"dta\\\"\"",
                    "299 - \"duplicate field \\\"data.a\\\"\"",
                ],
            ),
            ("Ignore", 201, &[]),
        ];
        for (validation, code, warnings) in cases {
            let url = format!("{MAPS}?fieldValidation={validation}&dryRun=All&fieldManager=test");
            let response = client.send(Method::POST, &url, &[], object).await;
            let told: Vec<String> = response
                .headers()
                .get_all("warning")
                .iter()
                .map(|value| value.to_str().unwrap().to_owned())
                .collect();
            assert_eq!(told, *warnings, "{validation}");
            let (found, value) = answer(response).await;
            assert_eq!(found, *code, "{validation}: {value}");
            assert_eq!(value.get("dta"), None, "{validation}");
        }
        assert_eq!(
            client.get(&format!("{MAPS}/x")).await.0,
            404,
            "a dry run stores nothing"
        );
    });
}

#[test]
fn pages_show_one_state_whatever_happens_between_them() {
    with_server(|client| async move {
        for name in ["a", "b", "c", "d", "e"] {
            client.put(name, "1").await;
        }
        let (_, first) = client.get(&format!("{MAPS}?limit=2")).await;
        assert_eq!(first["metadata"]["remainingItemCount"], 3, "{first}");
        client.put("c", "2").await;
        client.put("bb", "2").await;
        client
            .ask(Method::DELETE, &format!("{MAPS}/d"), &Value::Null)
            .await;
        let mut seen = vec![first.clone()];
        while let Some(token) = seen[seen.len() - 1]["metadata"]["continue"].as_str() {
            let (code, page) = client
                .get(&format!("{MAPS}?limit=2&continue={token}"))
                .await;
            assert_eq!(code, 200, "{page}");
            assert_eq!(
                page["metadata"]["resourceVersion"],
                first["metadata"]["resourceVersion"]
            );
            seen.push(page);
        }
        let pairs: Vec<String> = seen
            .iter()
            .flat_map(|page| page["items"].as_array().unwrap())
            .map(|item| {
                format!("{}={}", item["metadata"]["name"], item["data"]["k"]).replace('"', "")
            })
            .collect();
        assert_eq!(pairs, ["a=1", "b=1", "c=1", "d=1", "e=1"]);
    });
}

#[test]
fn deletes_respect_preconditions_and_selectors() {
    with_server(|client| async move {
        let x = client.put("x", "1").await;
        client.put("y", "2").await;
        let url = format!("{MAPS}/x");
        let wrong = json!({ "preconditions": { "uid": "another" } });
        let (code, status) = client.ask(Method::DELETE, &url, &wrong).await;
        assert_eq!(
            (code, &status["reason"]),
            (409, &json!("Conflict")),
            "{status}"
        );
        let right = json!({ "preconditions": { "uid": x["metadata"]["uid"] } });
        let (code, status) = client.ask(Method::DELETE, &url, &right).await;
        assert_eq!(
            (code, &status["status"], &status["details"]["uid"]),
            (200, &json!("Success"), &x["metadata"]["uid"])
        );
        client.put("x", "1").await;
        let (code, deleted) = client
            .ask(
                Method::DELETE,
                &format!("{MAPS}?labelSelector=v%3D2"),
                &Value::Null,
            )
            .await;
        assert_eq!(code, 200, "{deleted}");
        let (_, left) = client
            .get(&format!(
                "{MAPS}?fieldSelector=metadata.namespace%3Ddefault"
            ))
            .await;
        let names: Vec<&Value> = left["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["metadata"]["name"])
            .collect();
        assert_eq!(names, ["x"]);
    });
}

#[test]
fn discovery_speaks_three_dialects() {
    with_server(|client| async move {
        for version in ["v2", "v2beta1"] {
            let media = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            let response = client
                .send(Method::GET, "/apis", &[("accept", &media)], "")
                .await;
            assert_eq!(response.headers()["content-type"], media.as_str());
            let (_, list) = answer(response).await;
            assert_eq!(list["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
            let groups = list["items"].as_array().unwrap().iter();
            let mut names = groups.map(|group| &group["metadata"]["name"]);
            assert!(names.any(|name| name == "discovery.k8s.io"), "{list}");
        }
        let (_, groups) = client.get("/apis").await;
        assert_eq!(groups["groups"][1]["name"], "apps", "{groups}");
        let (_, resources) = client.get("/api/v1").await;
        let names = resources["resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|resource| resource["name"].as_str().unwrap());
        let names: Vec<&str> = names.collect();
        for wanted in [
            "pods",
            "pods/log",
            "pods/exec",
            "pods/status",
            "services/status",
        ] {
            assert!(names.contains(&wanted), "{wanted} in {names:?}");
        }
    });
}
