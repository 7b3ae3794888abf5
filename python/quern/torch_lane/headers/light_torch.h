// SPDX-License-Identifier: Apache-2.0
#pragma once

// What kernels mostly use of PyTorch's C++ interface, over PyTorch's stable C functions
// (torch/csrc/inductor/aoti_torch/c/shim.h) and Python's own. It stands in for torch/extension.h,
// which takes a compiler a hundred times as long to read. Names, arguments and meanings are
// PyTorch's; what is missing does not compile, and is then built against PyTorch's own header.

#include <Python.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#ifdef QUERN_LIGHT_CUDA
#include <cuda_runtime.h>
#endif

extern "C" {
struct AtenTensorOpaque;
using AtenTensorHandle = AtenTensorOpaque*;
int32_t aoti_torch_new_tensor_handle(AtenTensorHandle original, AtenTensorHandle* made);
int32_t aoti_torch_delete_tensor_object(AtenTensorHandle tensor);
int32_t aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** pointer);
int32_t aoti_torch_get_dim(AtenTensorHandle tensor, int64_t* dim);
int32_t aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* numel);
int32_t aoti_torch_get_sizes(AtenTensorHandle tensor, int64_t** sizes);
int32_t aoti_torch_get_strides(AtenTensorHandle tensor, int64_t** strides);
int32_t aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* dtype);
int32_t aoti_torch_get_device_type(AtenTensorHandle tensor, int32_t* type);
int32_t aoti_torch_get_device_index(AtenTensorHandle tensor, int32_t* index);
int32_t aoti_torch_get_storage_offset(AtenTensorHandle tensor, int64_t* offset);
int32_t aoti_torch_empty_strided(int64_t ndim, const int64_t* sizes, const int64_t* strides,
                                 int32_t dtype, int32_t device_type, int32_t device_index,
                                 AtenTensorHandle* made);
int32_t aoti_torch_copy_(AtenTensorHandle self, AtenTensorHandle source, int32_t non_blocking);
int32_t aoti_torch_zero_(AtenTensorHandle self);
int32_t aoti_torch__reinterpret_tensor(AtenTensorHandle self, int64_t ndim, const int64_t* sizes,
                                       const int64_t* strides, int64_t offset,
                                       AtenTensorHandle* made);
#ifdef QUERN_LIGHT_CUDA
int32_t aoti_torch_get_current_cuda_stream(int32_t device_index, void** stream);
#endif
}

namespace torch {

inline void quern_checked(int32_t code, const char* what) {
  if (code != 0) throw std::runtime_error(std::string("PyTorch refused: ") + what);
}

/// Element types, numbered as PyTorch numbers them.
enum class ScalarType : int32_t {
  Byte = 0, Char = 1, Short = 2, Int = 3, Long = 4, Half = 5, Float = 6, Double = 7, Bool = 11,
  BFloat16 = 15
};
using Dtype = ScalarType;
constexpr ScalarType kUInt8 = ScalarType::Byte, kInt8 = ScalarType::Char;
constexpr ScalarType kInt16 = ScalarType::Short, kInt32 = ScalarType::Int, kInt = kInt32;
constexpr ScalarType kInt64 = ScalarType::Long, kLong = kInt64, kBool = ScalarType::Bool;
constexpr ScalarType kFloat16 = ScalarType::Half, kHalf = kFloat16;
constexpr ScalarType kBFloat16 = ScalarType::BFloat16;
constexpr ScalarType kFloat32 = ScalarType::Float, kFloat = kFloat32;
constexpr ScalarType kFloat64 = ScalarType::Double, kDouble = kFloat64;

enum class DeviceType : int32_t { CPU = 0, CUDA = 1 };
constexpr DeviceType kCPU = DeviceType::CPU, kCUDA = DeviceType::CUDA;

struct Device {
  DeviceType kind = kCPU;
  int32_t number = -1;
  Device(DeviceType type = kCPU, int32_t index = -1) : kind(type), number(index) {}
  DeviceType type() const { return kind; }
  int32_t index() const { return number; }
  bool is_cuda() const { return kind == kCUDA; }
  bool is_cpu() const { return kind == kCPU; }
  bool operator==(const Device& other) const {
    return kind == other.kind && number == other.number;
  }
  bool operator!=(const Device& other) const { return !(*this == other); }
};

/// Sizes or strides. Owns nothing.
class IntArrayRef {
 public:
  IntArrayRef() = default;
  IntArrayRef(const int64_t* data, size_t count) : data_(data), count_(count) {}
  IntArrayRef(const std::vector<int64_t>& values) : data_(values.data()), count_(values.size()) {}
  IntArrayRef(const std::initializer_list<int64_t>& values)
      : data_(values.begin()), count_(values.size()) {}
  const int64_t* begin() const { return data_; }
  const int64_t* end() const { return data_ + count_; }
  const int64_t* data() const { return data_; }
  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  int64_t operator[](size_t i) const { return data_[i]; }
  int64_t back() const { return data_[count_ - 1]; }
  int64_t front() const { return data_[0]; }
  std::vector<int64_t> vec() const { return {begin(), end()}; }
  bool operator==(const IntArrayRef& other) const {
    return count_ == other.count_ && std::equal(begin(), end(), other.begin());
  }
  bool operator!=(const IntArrayRef& other) const { return !(*this == other); }

 private:
  const int64_t* data_ = nullptr;
  size_t count_ = 0;
};

struct TensorOptions {
  ScalarType element = kFloat32;
  Device place;
  TensorOptions() = default;
  TensorOptions(ScalarType type) : element(type) {}
  TensorOptions(Device device) : place(device) {}
  TensorOptions dtype(ScalarType type) const {
    TensorOptions made = *this;
    made.element = type;
    return made;
  }
  TensorOptions device(Device device) const {
    TensorOptions made = *this;
    made.place = device;
    return made;
  }
  TensorOptions device(DeviceType type, int32_t index = -1) const {
    return device(Device(type, index));
  }
  ScalarType dtype() const { return element; }
  Device device() const { return place; }
};
inline TensorOptions dtype(ScalarType type) { return TensorOptions(type); }
inline TensorOptions device(Device device) { return TensorOptions(device); }

template <class T>
struct quern_element;
#define QUERN_ELEMENT(type, name) \
  template <>                     \
  struct quern_element<type> {    \
    static constexpr ScalarType value = ScalarType::name; \
  };
QUERN_ELEMENT(uint8_t, Byte)
QUERN_ELEMENT(int8_t, Char)
QUERN_ELEMENT(int16_t, Short)
QUERN_ELEMENT(int32_t, Int)
QUERN_ELEMENT(int64_t, Long)
QUERN_ELEMENT(float, Float)
QUERN_ELEMENT(double, Double)
QUERN_ELEMENT(bool, Bool)
#undef QUERN_ELEMENT

class Tensor;
inline Tensor empty(IntArrayRef sizes, TensorOptions options = {});

/// A reference to a tensor of PyTorch's.
class Tensor {
 public:
  Tensor() = default;
  static Tensor adopt(AtenTensorHandle handle) {
    Tensor made;
    made.handle_ = handle;
    return made;
  }
  Tensor(const Tensor& other) {
    if (other.handle_) {
      quern_checked(aoti_torch_new_tensor_handle(other.handle_, &handle_), "copy of a tensor");
    }
  }
  Tensor(Tensor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Tensor() {
    if (handle_) aoti_torch_delete_tensor_object(handle_);
  }

  AtenTensorHandle handle() const { return handle_; }
  AtenTensorHandle release() { return std::exchange(handle_, nullptr); }
  bool defined() const { return handle_ != nullptr; }

  int64_t dim() const {
    int64_t value = 0;
    quern_checked(aoti_torch_get_dim(get(), &value), "dim");
    return value;
  }
  int64_t ndimension() const { return dim(); }
  int64_t numel() const {
    int64_t value = 0;
    quern_checked(aoti_torch_get_numel(get(), &value), "numel");
    return value;
  }
  IntArrayRef sizes() const {
    int64_t* values = nullptr;
    quern_checked(aoti_torch_get_sizes(get(), &values), "sizes");
    return {values, static_cast<size_t>(dim())};
  }
  IntArrayRef strides() const {
    int64_t* values = nullptr;
    quern_checked(aoti_torch_get_strides(get(), &values), "strides");
    return {values, static_cast<size_t>(dim())};
  }
  int64_t size(int64_t d) const { return sizes()[place_of(d)]; }
  int64_t stride(int64_t d) const { return strides()[place_of(d)]; }
  int64_t storage_offset() const {
    int64_t value = 0;
    quern_checked(aoti_torch_get_storage_offset(get(), &value), "storage_offset");
    return value;
  }
  ScalarType scalar_type() const {
    int32_t value = 0;
    quern_checked(aoti_torch_get_dtype(get(), &value), "dtype");
    return static_cast<ScalarType>(value);
  }
  ScalarType dtype() const { return scalar_type(); }
  int64_t element_size() const {
    switch (scalar_type()) {
      case kDouble:
      case kInt64: return 8;
      case kFloat:
      case kInt32: return 4;
      case kHalf:
      case kBFloat16:
      case kInt16: return 2;
      default: return 1;
    }
  }
  int64_t itemsize() const { return element_size(); }
  size_t nbytes() const { return static_cast<size_t>(numel() * element_size()); }
  Device device() const {
    int32_t type = 0, index = 0;
    quern_checked(aoti_torch_get_device_type(get(), &type), "device");
    quern_checked(aoti_torch_get_device_index(get(), &index), "device");
    return {static_cast<DeviceType>(type), index};
  }
  int64_t get_device() const { return device().index(); }
  bool is_cuda() const { return device().is_cuda(); }
  bool is_cpu() const { return device().is_cpu(); }
  bool is_floating_point() const {
    const ScalarType type = scalar_type();
    return type == kFloat || type == kDouble || type == kHalf || type == kBFloat16;
  }
  bool is_contiguous() const {
    int64_t expected = 1;
    const IntArrayRef n = sizes(), s = strides();
    for (size_t d = n.size(); d-- > 0;) {
      if (n[d] == 0) return true;
      if (n[d] != 1 && s[d] != expected) return false;
      expected *= n[d];
    }
    return true;
  }
  TensorOptions options() const { return TensorOptions(scalar_type()).device(device()); }

  void* data_ptr() const {
    void* pointer = nullptr;
    quern_checked(aoti_torch_get_data_ptr(get(), &pointer), "data_ptr");
    return pointer;
  }
  template <class T>
  T* data_ptr() const {
    if (quern_element<std::remove_const_t<T>>::value != scalar_type()) {
      throw std::runtime_error("data_ptr: the tensor's elements are of another type");
    }
    return static_cast<T*>(data_ptr());
  }
  template <class T>
  T* mutable_data_ptr() const { return data_ptr<T>(); }
  template <class T>
  const T* const_data_ptr() const { return data_ptr<T>(); }
  const void* const_data_ptr() const { return data_ptr(); }

  Tensor& copy_(const Tensor& source, bool non_blocking = false) {
    quern_checked(aoti_torch_copy_(get(), source.get(), non_blocking ? 1 : 0), "copy_");
    return *this;
  }
  Tensor& zero_() {
    quern_checked(aoti_torch_zero_(get()), "zero_");
    return *this;
  }
  Tensor contiguous() const { return is_contiguous() ? *this : packed(); }
  Tensor clone() const { return packed(); }
  Tensor detach() const { return *this; }
  Tensor view(IntArrayRef shape) const {
    if (!is_contiguous()) throw std::runtime_error("view: the tensor is not contiguous");
    return as(filled_in(shape));
  }
  Tensor reshape(IntArrayRef shape) const { return contiguous().view(shape); }
  Tensor flatten() const { return reshape({numel()}); }
  Tensor transpose(int64_t a, int64_t b) const {
    std::vector<int64_t> n = sizes().vec(), s = strides().vec();
    std::swap(n[place_of(a)], n[place_of(b)]);
    std::swap(s[place_of(a)], s[place_of(b)]);
    return strided(n, s);
  }
  Tensor t() const { return dim() < 2 ? *this : transpose(0, 1); }

 private:
  AtenTensorHandle get() const {
    if (!handle_) throw std::runtime_error("an undefined tensor was used");
    return handle_;
  }
  size_t place_of(int64_t d) const {
    const int64_t n = dim();
    if (d < -n || d >= n) throw std::out_of_range("dimension out of range");
    return static_cast<size_t>(d < 0 ? d + n : d);
  }
  std::vector<int64_t> filled_in(IntArrayRef shape) const {
    std::vector<int64_t> made = shape.vec();
    int64_t known = 1, open = -1;
    for (size_t d = 0; d < made.size(); ++d) {
      if (made[d] < 0) open = static_cast<int64_t>(d);
      else known *= made[d];
    }
    if (open >= 0) made[static_cast<size_t>(open)] = known ? numel() / known : 0;
    int64_t total = 1;
    for (int64_t size : made) total *= size;
    if (total != numel()) throw std::runtime_error("view: the shape has another size");
    return made;
  }
  Tensor as(const std::vector<int64_t>& shape) const {
    std::vector<int64_t> steps(shape.size());
    int64_t step = 1;
    for (size_t d = shape.size(); d-- > 0; step *= shape[d]) steps[d] = step;
    return strided(shape, steps);
  }
  Tensor strided(const std::vector<int64_t>& n, const std::vector<int64_t>& s) const {
    AtenTensorHandle made = nullptr;
    quern_checked(aoti_torch__reinterpret_tensor(get(), static_cast<int64_t>(n.size()), n.data(),
                                                 s.data(), storage_offset(), &made),
                  "view");
    return adopt(made);
  }
  Tensor packed() const;

  AtenTensorHandle handle_ = nullptr;
};

inline Tensor empty(IntArrayRef sizes, TensorOptions options) {
  std::vector<int64_t> steps(sizes.size());
  int64_t step = 1;
  for (size_t d = sizes.size(); d-- > 0; step *= sizes[d]) steps[d] = step;
  AtenTensorHandle made = nullptr;
  const Device place = options.device();
  quern_checked(
      aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.data(), steps.data(),
                               static_cast<int32_t>(options.dtype()),
                               static_cast<int32_t>(place.type()),
                               place.is_cuda() && place.index() < 0 ? 0 : place.index(), &made),
      "empty");
  return Tensor::adopt(made);
}
/// Keeps the strides of a dense tensor, as PyTorch does.
inline Tensor empty_like(const Tensor& like, std::optional<TensorOptions> given = std::nullopt) {
  const TensorOptions options = given.value_or(like.options());
  if (like.is_contiguous()) return empty(like.sizes(), options);
  throw std::runtime_error("empty_like: of a tensor that is not contiguous");
}
inline Tensor zeros(IntArrayRef sizes, TensorOptions options = {}) {
  Tensor made = empty(sizes, options);
  made.zero_();
  return made;
}
inline Tensor zeros_like(const Tensor& like) {
  Tensor made = empty_like(like);
  made.zero_();
  return made;
}
inline Tensor Tensor::packed() const {
  Tensor made = empty(sizes(), options());
  made.copy_(*this);
  return made;
}

template <class... A>
std::string quern_text(const A&... parts) {
  std::ostringstream text;
  ((text << parts), ...);
  return text.str();
}

// Bindings: each function becomes a Python one that takes its arguments by place.

template <class T>
struct quern_from;  // Python to C++
template <>
struct quern_from<Tensor> {
  static Tensor get(PyObject* object);
};
#define QUERN_FROM(type, call)                                              \
  template <>                                                               \
  struct quern_from<type> {                                                 \
    static type get(PyObject* object) {                                     \
      const auto value = call(object);                                      \
      if (PyErr_Occurred()) throw std::invalid_argument("bad argument");    \
      return static_cast<type>(value);                                      \
    }                                                                       \
  };
QUERN_FROM(int, PyLong_AsLongLong)
QUERN_FROM(long, PyLong_AsLongLong)
QUERN_FROM(long long, PyLong_AsLongLong)
QUERN_FROM(unsigned, PyLong_AsLongLong)
QUERN_FROM(unsigned long, PyLong_AsUnsignedLongLong)
QUERN_FROM(float, PyFloat_AsDouble)
QUERN_FROM(double, PyFloat_AsDouble)
QUERN_FROM(bool, PyObject_IsTrue)
#undef QUERN_FROM
template <class T>
struct quern_from<std::vector<T>> {
  static std::vector<T> get(PyObject* object) {
    std::vector<T> made;
    const Py_ssize_t count = PySequence_Size(object);
    if (count < 0) throw std::invalid_argument("bad argument");
    for (Py_ssize_t i = 0; i < count; ++i) {
      PyObject* item = PySequence_GetItem(object, i);
      made.push_back(quern_from<T>::get(item));
      Py_DECREF(item);
    }
    return made;
  }
};
template <class T>
struct quern_from<std::optional<T>> {
  static std::optional<T> get(PyObject* object) {
    if (object == Py_None) return std::nullopt;
    return quern_from<T>::get(object);
  }
};

/// PyTorch's own functions between a Python tensor and a handle.
inline PyObject* quern_bridge(bool out) {
  static PyObject* functions[2] = {nullptr, nullptr};
  if (!functions[0]) {
    PyObject* torch_module = PyImport_ImportModule("torch");
    PyObject* c = PyObject_GetAttrString(torch_module, "_C");
    PyObject* aoti = PyObject_GetAttrString(c, "_aoti");
    functions[0] = PyObject_GetAttrString(aoti, "unsafe_alloc_void_ptrs_from_tensors");
    functions[1] = PyObject_GetAttrString(aoti, "alloc_tensors_by_stealing_from_void_ptrs");
    Py_DECREF(aoti);
    Py_DECREF(c);
    Py_DECREF(torch_module);
  }
  return functions[out ? 1 : 0];
}
inline Tensor quern_from<Tensor>::get(PyObject* object) {
  PyObject* list = PyList_New(1);
  Py_INCREF(object);
  PyList_SET_ITEM(list, 0, object);
  PyObject* made = PyObject_CallOneArg(quern_bridge(false), list);
  Py_DECREF(list);
  if (!made) throw std::invalid_argument("not a tensor");
  void* handle = PyCapsule_GetPointer(PyList_GetItem(made, 0), nullptr);
  Py_DECREF(made);
  return Tensor::adopt(static_cast<AtenTensorHandle>(handle));
}

inline PyObject* quern_to(Tensor tensor) {
  if (!tensor.defined()) Py_RETURN_NONE;
  PyObject* list = PyList_New(1);
  PyList_SET_ITEM(list, 0, PyCapsule_New(tensor.release(), nullptr, nullptr));
  PyObject* made = PyObject_CallOneArg(quern_bridge(true), list);
  Py_DECREF(list);
  if (!made) return nullptr;
  PyObject* item = PyList_GetItem(made, 0);
  Py_INCREF(item);
  Py_DECREF(made);
  return item;
}
inline PyObject* quern_to(double value) { return PyFloat_FromDouble(value); }
inline PyObject* quern_to(float value) { return PyFloat_FromDouble(value); }
inline PyObject* quern_to(bool value) { return PyBool_FromLong(value); }
inline PyObject* quern_to(int value) { return PyLong_FromLong(value); }
inline PyObject* quern_to(long value) { return PyLong_FromLong(value); }
inline PyObject* quern_to(const std::string& text) { return PyUnicode_FromString(text.c_str()); }
inline PyObject* quern_to(std::vector<Tensor> tensors) {
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(tensors.size()));
  for (size_t i = 0; i < tensors.size(); ++i) {
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), quern_to(std::move(tensors[i])));
  }
  return list;
}
template <class... T>
PyObject* quern_to(std::tuple<T...> values) {
  PyObject* made = PyTuple_New(sizeof...(T));
  Py_ssize_t i = 0;
  std::apply([&](auto&... each) { (PyTuple_SET_ITEM(made, i++, quern_to(std::move(each))), ...); },
             values);
  return made;
}

template <class R, class... A, size_t... i>
PyObject* quern_call(R (*function)(A...), PyObject* const* given, std::index_sequence<i...>) {
  std::tuple<std::decay_t<A>...> arguments{quern_from<std::decay_t<A>>::get(given[i])...};
  if constexpr (std::is_void_v<R>) {
    function(static_cast<A>(std::get<i>(arguments))...);
    Py_RETURN_NONE;
  } else {
    return quern_to(function(static_cast<A>(std::get<i>(arguments))...));
  }
}

template <class R, class... A>
PyObject* quern_enter(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  using Function = R (*)(A...);
  try {
    if (count != static_cast<Py_ssize_t>(sizeof...(A))) {
      throw std::invalid_argument(quern_text("takes ", sizeof...(A), " arguments, got ", count));
    }
    const auto function = reinterpret_cast<Function>(PyCapsule_GetPointer(self, nullptr));
    return quern_call(function, given, std::index_sequence_for<A...>{});
  } catch (const std::invalid_argument& error) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::exception& error) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

struct quern_module {
  PyObject* module;
  PyObject* doc_holder = nullptr;
  std::string doc_text;
  std::string& doc() { return doc_text; }
  template <class R, class... A>
  quern_module& def(const char* name, R (*function)(A...), const char* text = "") {
    auto* method = new PyMethodDef{
        strdup(name),
        reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&quern_enter<R, A...>)),
        METH_FASTCALL, strdup(text)};
    PyObject* self = PyCapsule_New(reinterpret_cast<void*>(function), nullptr, nullptr);
    PyModule_AddObject(module, name, PyCFunction_New(method, self));
    return *this;
  }
};

}  // namespace torch

namespace at {
using namespace torch;
namespace cuda {}
}  // namespace at
namespace c10 {
using namespace torch;
template <class T>
using optional = std::optional<T>;
constexpr auto nullopt = std::nullopt;
namespace cuda {}
}  // namespace c10

#define TORCH_CHECK(condition, ...)                                                \
  do {                                                                             \
    if (!(condition)) {                                                            \
      throw std::runtime_error(torch::quern_text("" __VA_OPT__(, ) __VA_ARGS__));  \
    }                                                                              \
  } while (false)
#define AT_ASSERTM TORCH_CHECK
#define AT_ASSERT TORCH_CHECK
#define TORCH_INTERNAL_ASSERT TORCH_CHECK
#define AT_ERROR(...) throw std::runtime_error(torch::quern_text(__VA_ARGS__))
#define AT_DISPATCH_FLOATING_TYPES(type, name, ...)                                  \
  [&] {                                                                              \
    switch (type) {                                                                  \
      case torch::ScalarType::Float: {                                               \
        using scalar_t = float;                                                      \
        return __VA_ARGS__();                                                        \
      }                                                                              \
      case torch::ScalarType::Double: {                                              \
        using scalar_t = double;                                                     \
        return __VA_ARGS__();                                                        \
      }                                                                              \
      default: throw std::runtime_error(std::string(name) + ": not for this type");  \
    }                                                                                \
  }()

#define QUERN_STRING_OF(name) #name
#define QUERN_STRING(name) QUERN_STRING_OF(name)
#define QUERN_JOIN_OF(a, b) a##b
#define QUERN_JOIN(a, b) QUERN_JOIN_OF(a, b)
#define PYBIND11_MODULE(name, m)                                                            \
  static void quern_define(torch::quern_module& m);                                         \
  extern "C" __attribute__((visibility("default"))) PyObject* QUERN_JOIN(PyInit_, name)() { \
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, QUERN_STRING(name), nullptr, -1, \
                                     nullptr, nullptr, nullptr, nullptr, nullptr};          \
    torch::quern_module module{PyModule_Create(&definition)};                               \
    quern_define(module);                                                                   \
    return module.module;                                                                   \
  }                                                                                         \
  static void quern_define(torch::quern_module& m)

#ifdef QUERN_LIGHT_CUDA
namespace torch {
struct quern_stream {
  cudaStream_t raw;
  cudaStream_t stream() const { return raw; }
  operator cudaStream_t() const { return raw; }
};
inline quern_stream getCurrentCUDAStream(int32_t device = 0) {
  void* stream = nullptr;
  quern_checked(aoti_torch_get_current_cuda_stream(device < 0 ? 0 : device, &stream), "stream");
  return {static_cast<cudaStream_t>(stream)};
}
/// The lane runs a candidate on one device.
struct quern_guard {
  explicit quern_guard(const Device&) {}
  explicit quern_guard(int64_t) {}
};
}  // namespace torch
namespace at::cuda {
using torch::getCurrentCUDAStream;
using CUDAGuard = torch::quern_guard;
using OptionalCUDAGuard = torch::quern_guard;
}  // namespace at::cuda
namespace c10::cuda {
using torch::getCurrentCUDAStream;
using CUDAGuard = torch::quern_guard;
}  // namespace c10::cuda
#define C10_CUDA_CHECK(call)                                                     \
  do {                                                                           \
    const cudaError_t quern_error = call;                                        \
    if (quern_error != cudaSuccess) {                                            \
      throw std::runtime_error(std::string("CUDA error: ") +                     \
                               cudaGetErrorString(quern_error));                 \
    }                                                                            \
  } while (false)
#define AT_CUDA_CHECK C10_CUDA_CHECK
#define C10_CUDA_KERNEL_LAUNCH_CHECK() C10_CUDA_CHECK(cudaGetLastError())
#endif
