package apiserver

import (
	"context"
	"net"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// etcdPatience is what a client of etcd lets pass between its first attempt to connect and
// its second: https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md.
const etcdPatience = time.Second

// awaitEtcd returns once one of the servers accepts connections, or after etcdPatience. A
// server that starts beside etcd is often some milliseconds early; without this it would
// lose a second by it. Whether etcd is there at all is for its clients to say.
func awaitEtcd(ctx context.Context, servers []string) {
	addresses := make([]string, 0, len(servers))
	for _, server := range servers {
		address, err := url.Parse(server)
		if err != nil || address.Scheme != "http" && address.Scheme != "https" {
			return // a socket file, or what the client will complain of
		}
		addresses = append(addresses, address.Host)
	}
	const interval = 5 * time.Millisecond
	_ = wait.PollUntilContextTimeout(ctx, interval, etcdPatience, true, func(ctx context.Context) (bool, error) {
		for _, address := range addresses {
			connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
			if err == nil {
				return true, connection.Close()
			}
		}
		return false, nil
	})
}
