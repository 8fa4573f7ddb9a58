package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/klog/v2"
)

const (
	// eagerly is how often a runtime is asked that is not ready yet, calmly one that is.
	eagerly = 20 * time.Millisecond
	calmly  = 5 * time.Second
	// imagesEvery is how often the images are listed.
	imagesEvery = 30 * time.Second
)

// WatchRuntime follows whether the container runtime and its network are ready until
// ctx ends, and has the node's status say so at once.
func (k *Keeper) WatchRuntime(ctx context.Context, runtime Runtime, images Images) {
	k.mu.Lock()
	k.runtime, k.images = runtime, images
	k.mu.Unlock()
	if version, err := runtime.Version(ctx, ""); err == nil {
		k.mu.Lock()
		k.version = version
		k.mu.Unlock()
	}
	var listed time.Time
	for {
		ready := k.ask(ctx)
		if ready && time.Since(listed) > imagesEvery {
			listed = time.Now()
			k.listImages(ctx)
		}
		pause := calmly
		if !ready {
			pause = eagerly
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// ask learns whether the runtime and its network are ready.
func (k *Keeper) ask(ctx context.Context) bool {
	response, err := k.runtime.Status(ctx, false)
	var runtimeErr, networkErr error
	if err != nil {
		runtimeErr = fmt.Errorf("container runtime is down: %w", err)
	} else {
		runtimeErr = conditionErr("container runtime not ready", response.GetStatus(), runtimeapi.RuntimeReady)
		networkErr = conditionErr("container runtime network not ready", response.GetStatus(), runtimeapi.NetworkReady)
	}
	k.mu.Lock()
	changed := (k.runtimeErr == nil) != (runtimeErr == nil) || (k.networkErr == nil) != (networkErr == nil)
	k.runtimeErr, k.networkErr = runtimeErr, networkErr
	if response != nil && k.handlers == nil {
		k.handlers, k.features = handlersOf(response)
	}
	k.mu.Unlock()
	if changed {
		klog.FromContext(ctx).Info("Container runtime", "runtime", fmt.Sprint(runtimeErr), "network", fmt.Sprint(networkErr))
		k.Touch()
	}
	return runtimeErr == nil && networkErr == nil
}

func conditionErr(what string, status *runtimeapi.RuntimeStatus, kind string) error {
	for _, c := range status.GetConditions() {
		if c.Type == kind {
			if c.Status {
				return nil
			}
			return fmt.Errorf("%s: %s=%v reason:%s message:%s", what, c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("%s: the runtime does not say", what)
}

func handlersOf(r *runtimeapi.StatusResponse) ([]v1.NodeRuntimeHandler, *v1.NodeFeatures) {
	handlers := []v1.NodeRuntimeHandler{}
	for _, h := range r.GetRuntimeHandlers() {
		readOnly, userns := h.GetFeatures().GetRecursiveReadOnlyMounts(), h.GetFeatures().GetUserNamespaces()
		handlers = append(handlers, v1.NodeRuntimeHandler{
			Name: h.Name, Features: &v1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &readOnly, UserNamespaces: &userns},
		})
	}
	slices.SortFunc(handlers, func(a, b v1.NodeRuntimeHandler) int { return cmp.Compare(a.Name, b.Name) })
	groups := r.GetFeatures().GetSupplementalGroupsPolicy()
	return handlers, &v1.NodeFeatures{SupplementalGroupsPolicy: &groups}
}

// RecursiveReadOnly says whether the default runtime can make mounts read-only all the way down.
func (k *Keeper) RecursiveReadOnly() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.handlers {
		if h.Name == "" && h.Features.RecursiveReadOnlyMounts != nil {
			return *h.Features.RecursiveReadOnlyMounts
		}
	}
	return false
}

// UserNamespaces says whether a runtime handler can give pods users of their own.
func (k *Keeper) UserNamespaces(handler string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.handlers, func(h v1.NodeRuntimeHandler) bool {
		return h.Name == handler && h.Features.UserNamespaces != nil && *h.Features.UserNamespaces
	})
}

// listImages takes the largest images into the node's status.
func (k *Keeper) listImages(ctx context.Context) {
	list, err := k.images.ListImages(ctx, nil)
	if err != nil {
		return
	}
	slices.SortFunc(list, func(a, b *runtimeapi.Image) int {
		return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.Id, b.Id))
	})
	if k.c.MaxImages >= 0 && len(list) > k.c.MaxImages {
		list = list[:k.c.MaxImages]
	}
	out := make([]v1.ContainerImage, 0, len(list))
	for _, image := range list {
		names := append(slices.Clone(image.RepoDigests), image.RepoTags...)
		const most = 5
		out = append(out, v1.ContainerImage{Names: names[:min(len(names), most)], SizeBytes: int64(image.Size)})
	}
	k.mu.Lock()
	k.cached = out
	k.mu.Unlock()
}
