package apiserver

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/server/options"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	storagevalue "k8s.io/apiserver/pkg/storage/value"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/plumbline/plumbline/components/apiserver/resource"
)

// etcdLayout says how each built-in resource is kept in etcd: under which version,
// as protobuf, in the directory where upstream keeps it.
type etcdLayout struct {
	etcd         *options.EtcdOptions
	codecs       serializer.CodecFactory
	versions     map[schema.GroupResource]schema.GroupVersion
	transformers storagevalue.ResourceTransformers
	counts       flowcontrolrequest.StorageObjectCountTracker
}

func newEtcdLayout(etcd *options.EtcdOptions, codecs serializer.CodecFactory, entries []resource.Entry) *etcdLayout {
	layout := &etcdLayout{etcd: etcd, codecs: codecs, versions: map[schema.GroupResource]schema.GroupVersion{}}
	for _, e := range entries {
		layout.versions[e.ID().GroupResource()] = e.ID().StorageVersion()
	}
	return layout
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (l *etcdLayout) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	config := l.etcd.StorageConfig
	config.StorageObjectCountTracker = l.counts
	codec, versioner, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  l.etcd.DefaultStorageMediaType,
		StorageSerializer: l.codecs,
		StorageVersion:    l.versions[gr],
		MemoryVersion:     schema.GroupVersion{Group: gr.Group, Version: runtime.APIVersionInternal},
		Config:            config,
	})
	if err != nil {
		return generic.RESTOptions{}, err
	}
	config.Codec, config.EncodeVersioner = codec, versioner
	if l.transformers != nil {
		config.Transformer = l.transformers.TransformerForResource(gr)
	}
	return generic.RESTOptions{
		StorageConfig:             config.ForResource(gr),
		Decorator:                 l.decorator(gr),
		DeleteCollectionWorkers:   l.etcd.DeleteCollectionWorkers,
		EnableGarbageCollection:   l.etcd.EnableGarbageCollection,
		ResourcePrefix:            gr.Resource,
		CountMetricPollPeriod:     config.CountMetricPollPeriod,
		StorageObjectCountTracker: l.counts,
	}, nil
}

// raw opens a directory of etcd that is no resource's.
func (l *etcdLayout) raw(gr schema.GroupResource, key string, newFunc, newListFunc func() runtime.Object) (storage.Interface, error) {
	l.versions[gr] = schema.GroupVersion{Group: gr.Group, Version: "v1"}
	opts, err := l.GetRESTOptions(gr, nil)
	if err != nil {
		return nil, err
	}
	opened, _, err := generic.NewRawStorage(opts.StorageConfig, newFunc, newListFunc, key)
	return opened, err
}

// decorator puts a watch cache before the store of everything but events, of which there
// are many and which nobody lists often.
func (l *etcdLayout) decorator(gr schema.GroupResource) generic.StorageDecorator {
	if !l.etcd.EnableWatchCache || gr.Resource == "events" {
		return generic.UndecoratedStorage
	}
	return genericregistry.StorageWithCacher()
}

func protobufStorage() *options.EtcdOptions {
	etcd := options.NewEtcdOptions(storagebackend.NewDefaultConfig("/registry", nil))
	etcd.DefaultStorageMediaType = runtime.ContentTypeProtobuf
	return etcd
}
