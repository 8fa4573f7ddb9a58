package serving

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// reviewers ask an API server that knows the tokens "reader" and "stranger", of whom the reader may read metrics.
func reviewers(t *testing.T) Reviewers {
	answer := func(w http.ResponseWriter, r *http.Request, review any, judge func()) {
		if err := json.NewDecoder(r.Body).Decode(review); err != nil {
			t.Error(err)
		}
		judge()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		answer(w, r, &review, func() {
			token := review.Spec.Token
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: token == "reader" || token == "stranger", User: authenticationv1.UserInfo{Username: token}}
		})
	})
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		answer(w, r, &review, func() {
			asked := review.Spec.NonResourceAttributes
			review.Status.Allowed = review.Spec.User == "reader" && asked.Verb == "get" && asked.Path == "/metrics"
		})
	})
	api := httptest.NewServer(mux)
	t.Cleanup(api.Close)
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: api.URL})
	return Reviewers{Tokens: client.AuthenticationV1(), Access: client.AuthorizationV1()}
}

func TestServerShowsEachWhatTheyMayRead(t *testing.T) {
	options := Defaults(0)
	options.BindAddress = net.IPv4(127, 0, 0, 1)
	var ready atomic.Bool
	server, err := Listen(t.Context(), options, reviewers(t), Content{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "figures") }),
		Ready: []healthz.HealthChecker{healthz.NamedCheck("lists", func(*http.Request) error {
			if !ready.Load() {
				return errors.New("not yet")
			}
			return nil
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	get := func(path, token string) (int, string) {
		t.Helper()
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+server.Address().String()+path, nil)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for _, c := range []struct {
		path, token string
		want        int
		says        string
	}{
		{"/healthz", "", 200, "ok"},
		{"/livez", "", 200, "ok"},
		{"/readyz", "", 500, "[-]lists failed"},
		{"/metrics", "", 401, "Unauthorized"},
		{"/metrics", "unknown", 401, "Unauthorized"},
		{"/metrics", "stranger", 403, `user "stranger" cannot get path "/metrics"`},
		{"/metrics", "reader", 200, "figures"},
		{"/debug/pprof/", "reader", 403, "cannot get"},
	} {
		if code, body := get(c.path, c.token); code != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%s as %q: %d %s, want %d %s", c.path, c.token, code, body, c.want, c.says)
		}
	}
	ready.Store(true)
	if code, body := get("/readyz", ""); code != 200 {
		t.Errorf("ready, but /readyz says %d %s", code, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("being told to stop is no error: %v", err)
	}
}

func TestListenTellsThePortThatIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	options := Defaults(taken.Addr().(*net.TCPAddr).Port)
	options.BindAddress = net.IPv4(127, 0, 0, 1)
	if _, err := Listen(t.Context(), options, reviewers(t), Content{Metrics: http.NotFoundHandler()}); err == nil || !strings.HasPrefix(err.Error(), "--bind-address, --secure-port: ") {
		t.Errorf("got %v", err)
	}
}

func TestValidateNamesTheFlag(t *testing.T) {
	good := Defaults(10257)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for flag, change := range map[string]func(*Options){
		"--bind-address":             func(o *Options) { o.BindAddress = nil },
		"--secure-port":              func(o *Options) { o.Port = 65536 },
		"--tls-cert-file":            func(o *Options) { o.KeyFile = "/dev/null" },
		"--client-ca-file":           func(o *Options) { o.ClientCAFile = "/missing" },
		"--authorization-kubeconfig": func(o *Options) { o.AuthorizationKubeconfig = "/missing" },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); err == nil || !strings.HasPrefix(err.Error(), flag) {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}
