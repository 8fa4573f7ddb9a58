package images

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/plumbline/plumbline/framework/binaries"
)

const pathEnv = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// recipes lists the images. Those made from built binaries are left out while
// there are none.
func recipes(bins *binaries.Set) []recipe {
	all := []recipe{
		{
			names:  []string{Pause},
			layers: []layer{cProgram("pause", "fixtures/images/pause/pause.c")},
			config: v1.Config{Entrypoint: []string{"/pause"}, Env: []string{pathEnv}, User: "65535:65535", WorkingDir: "/"},
		},
		{
			names:  []string{"plumbline.dev/agent:v1"},
			layers: []layer{text("tmp", map[string]string{"/tmp/.keep": ""}), goProgram("agent", "fixtures/images/agent")},
			config: v1.Config{Entrypoint: []string{"/agent"}, Cmd: []string{"serve"}, Env: []string{pathEnv}, WorkingDir: "/"},
		},
		{
			names:  []string{"docker.io/library/busybox:1.36", "docker.io/library/busybox:latest"},
			layers: []layer{busybox()},
			config: v1.Config{Cmd: []string{"sh"}, Env: []string{pathEnv}},
		},
		nginx("1.14.2"),
		nginx("1.16.1"),
		nginx("1.27", "latest"),
	}
	if bins != nil {
		all = append(all, recipe{
			names:  []string{"registry.k8s.io/coredns/coredns:v1.15.0"},
			layers: []layer{builtProgram("coredns", bins.Path("coredns"))},
			config: v1.Config{Entrypoint: []string{"/coredns"}, Env: []string{pathEnv}, WorkingDir: "/",
				ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}}},
		})
	}
	return all
}

// nginx is Debian's nginx under the tags that tutorials name: the same layers,
// a different label, hence a different image for each.
func nginx(tags ...string) recipe {
	var names []string
	for _, tag := range tags {
		names = append(names, "docker.io/library/nginx:"+tag)
	}
	return recipe{
		names: names,
		layers: []layer{
			debianPackages("nginx", "nginx-light", "bash", "coreutils"),
			text("nginx-config", map[string]string{
				"/etc/nginx/nginx.conf":          nginxConf,
				"/etc/nginx/conf.d/default.conf": nginxDefaultServer,
				"/var/log/nginx/access.log":      "-> /dev/stdout",
				"/var/log/nginx/error.log":       "-> /dev/stderr",
				"/var/lib/nginx/.keep":           "",
				// Debian's packages leave the choice of a shell to the system's installer.
				"/usr/bin/sh": "-> bash",
			}),
		},
		config: v1.Config{
			Cmd:          []string{"nginx", "-g", "daemon off;"},
			Env:          []string{pathEnv},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			StopSignal:   "SIGQUIT",
			Labels:       map[string]string{"dev.plumbline.tag": strings.Join(tags, ",")},
		},
	}
}

const nginxConf = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log notice;
events { worker_connections 1024; }
http {
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	access_log /var/log/nginx/access.log combined;
	sendfile on;
	keepalive_timeout 65;
	include /etc/nginx/conf.d/*.conf;
}
`

const nginxDefaultServer = `server {
	listen 80;
	server_name localhost;
	location / {
		root /usr/share/nginx/html;
		index index.html;
	}
	error_page 500 502 503 504 /50x.html;
}
`
