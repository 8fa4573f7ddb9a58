// Package openapi describes the built-in types for clients: the definitions
// that server-side apply, kubectl explain and client-side validation work from,
// and the endpoints that publish them.
//
// Nothing is built before it is asked for. A start that publishes everything at once
// costs some hundred milliseconds and tens of megabytes.
package openapi

//go:generate ./generate.sh
